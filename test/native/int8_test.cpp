// int8 weights: `linear` against the documented arithmetic bit by bit, against the float64 product
// of the very numbers that the integers stand for, against itself over rows, threads and
// instruction sets; and what rounding costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/dtype.hpp"
#include "core/error.hpp"
#include "cpu/embedding.hpp"
#include "cpu/int8_linear.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/isa.hpp"
#include "cpu/thread_pool.hpp"
#include "int8_kernel_cases.hpp"
#include "linear_source.hpp"
#include "linear_support.hpp"

namespace block_attention {
namespace {

using test::can_run;
using test::error_code_of;
using test::fuses;
using test::Kernel;
using test::kernel_name;
using test::kernels_and_amx;
using test::kNoAmx;
using test::kPoison;
using test::linear_reference;
using test::LinearSource;
using test::LinearSum;
using test::make_linear_source;
using test::random_values;
using test::view;

constexpr uint32_t kSeed = 20261125;

std::vector<float> row_of(const PackedInt8& weight, int64_t feature) {
  std::vector<float> row(static_cast<size_t>(weight.in_features()));
  weight.read_row(feature, row.data());
  return row;
}

std::vector<std::vector<float>> rows_of(const PackedInt8& weight) {
  std::vector<std::vector<float>> rows;
  for (int64_t j = 0; j < weight.out_features(); ++j) rows.push_back(row_of(weight, j));
  return rows;
}

// A group as int8_format.hpp says it, written down plainly.
struct PlainGroup {
  float scale = 0;
  std::vector<int> values;
  // Of activations with an outlier: what is left.
  float second_scale = 0;
  std::vector<int> second;

  float at(int64_t i) const {
    const size_t index = static_cast<size_t>(i);
    const float first = static_cast<float>(values[index]) * scale;
    return second.empty() ? first : first + static_cast<float>(second[index]) * second_scale;
  }
};

// Of a weight's group by one scale, in what int8_format.hpp compares.
float plain_error(int64_t first, int64_t count, float scale, float least,
                  const std::function<float(int64_t)>& at,
                  const std::function<float(int64_t)>& share) {
  int64_t squares = 0;
  const float inverse = 1.0f / scale;
  for (int64_t i = first; i < first + count; ++i) {
    const volatile float exact = at(i) * inverse;
    const float rest = exact - std::nearbyintf(exact);
    const int64_t error = std::lrintf(rest * (share(i) * kInt8ErrorSteps));
    squares += error * error;
  }
  const float coarser = scale / least;
  const volatile float area = coarser * coarser;
  return static_cast<float>(squares) * area;
}

float plain_scale(int64_t first, int64_t count, float least,
                  const std::function<float(int64_t)>& at,
                  const std::function<float(int64_t)>& share) {
  float best = least;
  for (int i = 1; i < kInt8Scales; ++i) {
    const float scale = std::bit_cast<float>(std::bit_cast<uint32_t>(least) + (i << 16));
    if (plain_error(first, count, scale, least, at, share) <
        plain_error(first, count, best, least, at, share)) {
      best = scale;
    }
  }
  return best;
}

// `share`: of each input, what an error of a weight counts; empty of activations.
PlainGroup plain_group(int64_t first, int64_t count, const std::function<float(int64_t)>& at,
                       const std::function<float(int64_t)>& share) {
  PlainGroup group;
  group.values.assign(static_cast<size_t>(kInt8Group), 0);
  float most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, std::fabs(at(first + i)));
  if (most < kInt8Smallest) return group;
  group.scale = most / (share ? 127.0f : 254.0f);
  if (share) {
    const uint16_t down = static_cast<uint16_t>(std::bit_cast<uint32_t>(group.scale) >> 16);
    const bool exact = bf16_to_f32(down) == group.scale;
    const float least = bf16_to_f32(static_cast<uint16_t>(exact ? down : down + 1));
    group.scale = plain_scale(first, count, least, at, share);
  }
  const float inverse = 1.0f / group.scale;
  for (int64_t i = 0; i < count; ++i)
    group.values[static_cast<size_t>(i)] =
        static_cast<int>(std::nearbyintf(at(first + i) * inverse));
  return group;
}

void add_second(PlainGroup& group, int64_t first, int64_t count,
                const std::function<float(int64_t)>& at) {
  int64_t squares = 0;
  for (const int value : group.values) squares += value * value;
  if (group.scale == 0 || group.scale > kInt8SecondMostScale) return;
  if (kInt8Outlier * kInt8Outlier * squares >= count * 254 * 254) return;
  group.second_scale = group.scale / kInt8SecondSteps;
  group.second.assign(group.values.size(), 0);
  for (int64_t i = 0; i < count; ++i) {
    const size_t index = static_cast<size_t>(i);
    const volatile float taken = static_cast<float>(group.values[index]) * group.scale;
    const float rest = at(first + i) - taken;
    group.second[index] =
        static_cast<int>(std::nearbyintf(rest * (kInt8SecondSteps / group.scale)));
  }
}

std::vector<PlainGroup> plain_activations(int64_t in_features,
                                          const std::function<float(int64_t)>& at) {
  std::vector<PlainGroup> groups;
  for (int64_t first = 0; first < in_features; first += kInt8Group) {
    const int64_t count = std::min(kInt8Group, in_features - first);
    groups.push_back(plain_group(first, count, at, {}));
    add_second(groups.back(), first, count, at);
  }
  return groups;
}

std::vector<PlainGroup> plain_weights(
    int64_t in_features, const std::function<float(int64_t)>& at,
    const std::function<float(int64_t)>& share = [](int64_t) { return 1.0f; }) {
  std::vector<PlainGroup> groups;
  for (int64_t first = 0; first < in_features; first += kInt8Group)
    groups.push_back(plain_group(first, std::min(kInt8Group, in_features - first), at, share));
  return groups;
}

void add_term(const std::vector<int>& x, float x_scale, const PlainGroup& w, bool fused,
              float& total) {
  int sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * w.values[i];
  const volatile float scaled = static_cast<float>(sum) * x_scale;
  if (fused) {
    total = std::fma(scaled, w.scale, total);
  } else {
    const volatile float product = scaled * w.scale;
    total += product;
  }
}

float documented_sum(const std::vector<PlainGroup>& x, const std::vector<PlainGroup>& w,
                     bool fused) {
  float total = 0;
  for (size_t g = 0; g < x.size(); ++g) {
    add_term(x[g].values, x[g].scale, w[g], fused, total);
    if (!x[g].second.empty()) add_term(x[g].second, x[g].second_scale, w[g], fused, total);
  }
  return total;
}

class Int8Test : public testing::TestWithParam<std::tuple<Kernel, int>> {
 protected:
  Int8Test() : pool_(std::get<1>(GetParam())), op_(pool_, isa(), dot()), rng_(kSeed) {
    RecordProperty("seed", static_cast<int>(kSeed));
  }
  void SetUp() override {
    if (!can_run(std::get<0>(GetParam()))) GTEST_SKIP() << kNoAmx;
  }
  Isa isa() const { return std::get<0>(GetParam()).isa; }
  Int8Dot dot() const { return std::get<0>(GetParam()).dot; }

  std::unique_ptr<PackedInt8> pack(const LinearSource& source) {
    return pack_int8(pool_, isa(), dot(), source.parts, source.bias);
  }

  std::vector<float> run(const PackedInt8& weight, std::vector<float>& x, int64_t rows,
                         int64_t x_stride) {
    return test::run_linear(op_, weight, x, rows, x_stride);
  }

  void check(const LinearSource& source, int64_t rows, int64_t x_gap) {
    const int64_t inputs = source.in_features;
    const int64_t stride = inputs + x_gap;
    std::vector<float> x = random_values(rng_, rows * stride);
    // Outliers in some groups of some rows, in the same input of many rows, too.
    for (int64_t i = 0; i < rows; ++i) {
      if (rng_() % 3 != 0) x[static_cast<size_t>(i * stride + inputs / 2)] *= 40;
      if (rng_() % 4 == 0)
        x[static_cast<size_t>(i * stride) + rng_() % static_cast<size_t>(inputs)] *= 200;
    }
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = inputs; k < stride; ++k) x[static_cast<size_t>(i * stride + k)] = kPoison;
    }
    const auto weight = pack(source);
    const std::vector<float> out = run(*weight, x, rows, stride);
    std::vector<std::vector<PlainGroup>> features;
    for (int64_t j = 0; j < source.out_features; ++j)
      features.push_back(plain_weights(inputs, [&](int64_t k) { return source.at(j, k); }));
    const std::vector<std::vector<float>> unpacked = rows_of(*weight);
    const int64_t elements = rows * source.out_features;
    const int64_t step = 1 | (elements * inputs / 600'000);
    int64_t planned_row = -1;
    std::vector<PlainGroup> plain;
    for (int64_t e = 0; e < elements; e += step) {
      const int64_t row = e / source.out_features;
      const int64_t feature = e % source.out_features;
      const float* x_row = x.data() + row * stride;
      if (row != planned_row)
        plain = plain_activations(inputs, [&](int64_t k) { return x_row[k]; });
      planned_row = row;
      const float bias = source.bias.empty() ? 0 : source.bias[static_cast<size_t>(feature)];
      const float sum = documented_sum(plain, features[static_cast<size_t>(feature)], fuses(isa()));
      const float expected = source.bias.empty() ? sum : sum + bias;
      const float got = out[static_cast<size_t>(e)];
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected))
          << "row " << row << " feature " << feature << ", " << rows << " x " << source.out_features
          << " x " << inputs << ": " << got << " for " << expected;

      // The same against float64, over the numbers that the integers stand for.
      std::vector<float> stands_for(static_cast<size_t>(inputs));
      for (int64_t k = 0; k < inputs; ++k) {
        stands_for[static_cast<size_t>(k)] =
            plain[static_cast<size_t>(k / kInt8Group)].at(k % kInt8Group);
      }
      const std::vector<float>& weights = unpacked[static_cast<size_t>(feature)];
      const LinearSum exact =
          linear_reference(stands_for.data(), inputs, double{bias},
                           [&](int64_t k) { return weights[static_cast<size_t>(k)]; });
      ASSERT_LE(std::fabs(double{got} - exact.value),
                (3 * static_cast<double>(plain.size()) + 4) * 0x1p-24 * exact.size);
    }
  }

  ThreadPool pool_;
  Int8LinearOp op_;
  std::mt19937 rng_;
};

TEST_P(Int8Test, EveryRowCountUpToThreeGroups) {
  // Groups are of 16 rows at most.
  for (DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const LinearSource source = make_linear_source(rng_, dtype, {16 * 5 + 7}, 317, true);
    for (int64_t rows = 1; rows <= 19; ++rows) check(source, rows, 5);
    for (int64_t rows : {31, 32, 33, 47, 48, 49}) check(source, rows, 5);
  }
}

TEST_P(Int8Test, RandomRaggedShapes) {
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(rng_);
  };
  const DType dtypes[] = {DType::kBF16, DType::kF16, DType::kF32};
  for (int round = 0; round < 40; ++round) {
    std::vector<int64_t> parts(static_cast<size_t>(draw(1, 3)));
    for (int64_t& rows : parts) rows = draw(1, 90);
    // Some with more inputs than one block.
    const LinearSource source = make_linear_source(rng_, dtypes[round % 3], parts,
                                                   draw(1, round % 8 == 0 ? 4400 : 300), round % 2);
    check(source, round % 10 == 0 ? draw(100, 900) : draw(1, 40), draw(0, 9));
  }
}

TEST_P(Int8Test, ThreadsBeginToReadWithinTheWeight) {
  for (int64_t outputs : {16 * 5 + 7, 1, 16 * 480}) {
    const auto weight = pack(make_linear_source(rng_, DType::kBF16, {outputs}, 70, false));
    EXPECT_EQ(op_.reads(*weight, 2).begin, nullptr);
    const NextReads reads = op_.reads(*weight, 1);
    EXPECT_EQ(reads.begin, reinterpret_cast<const char*>(weight->values()));
    EXPECT_EQ(reads.runs, 1);
    const int64_t panels = (outputs + 15) / 16;
    const size_t panel_bytes = 2 * 64 * 16;
    EXPECT_EQ(reads.task_bytes % panel_bytes, 0u);
    // The last task may be shorter.
    const size_t tasks = static_cast<size_t>(reads.tasks);
    EXPECT_GE(tasks * reads.task_bytes, static_cast<size_t>(panels) * panel_bytes);
    EXPECT_LT((tasks - 1) * reads.task_bytes, static_cast<size_t>(panels) * panel_bytes);
  }
}

TEST_P(Int8Test, SingleElement) {
  check(make_linear_source(rng_, DType::kBF16, {1}, 1, false), 1, 0);
  check(make_linear_source(rng_, DType::kF32, {1, 1, 1}, 1, true), 1, 0);
}

TEST_P(Int8Test, RowsOfALargeCallEqualSingleRows) {
  const LinearSource source = make_linear_source(rng_, DType::kBF16, {100, 37, 37}, 2500, true);
  const auto weight = pack(source);
  std::vector<float> x = random_values(rng_, 1000 * 2500);
  const std::vector<float> all = run(*weight, x, 1000, 2500);
  for (int64_t row = 0; row < 1000; row += 1 + row % 7) {
    std::vector<float> one(x.begin() + row * 2500, x.begin() + (row + 1) * 2500);
    const std::vector<float> alone = run(*weight, one, 1, 2500);
    ASSERT_EQ(std::memcmp(alone.data(), all.data() + row * 174, 174 * sizeof(float)), 0)
        << "row " << row;
  }
}

TEST_P(Int8Test, ExtremeValues) {
  // The greatest sums that a group can have, of either sign; groups of zeros; subnormal numbers.
  const int64_t inputs = 200;
  std::vector<float> weights(static_cast<size_t>(20 * inputs));
  for (int64_t j = 0; j < 20; ++j) {
    for (int64_t k = 0; k < inputs; ++k) {
      const float sign = j % 2 == 0 ? 1.0f : -1.0f;
      weights[static_cast<size_t>(j * inputs + k)] = j == 4   ? 0
                                                     : j == 5 ? 1e-40f
                                                     : j == 6 ? 1e36f
                                                              : sign * 2.5f;
    }
  }
  const HostMatrix matrix(weights.data(), DType::kF32, 20, inputs);
  const auto weight = pack_int8(pool_, isa(), dot(), {&matrix, 1}, {});
  const std::vector<std::vector<float>> unpacked = rows_of(*weight);
  for (int64_t rows : {1, 2, 7}) {
    for (float input : {-1.0f, 1.0f, 0.0f, 1e-38f, -0.0f}) {
      std::vector<float> x(static_cast<size_t>(rows * inputs), input);
      const std::vector<float> out = run(*weight, x, rows, inputs);
      for (int64_t e = 0; e < rows * 20; ++e) {
        const int64_t j = e % 20;
        const double w = unpacked[static_cast<size_t>(j)][0];
        const double expected = std::fabs(input) < kInt8Smallest ? 0 : 200.0 * w * double{input};
        EXPECT_NEAR(out[static_cast<size_t>(e)], expected, 1e-5 * std::fabs(expected)) << e;
        if (j == 4 || j == 5) {
          EXPECT_EQ(w, 0);
        } else {
          EXPECT_NEAR(w, weights[static_cast<size_t>(j * inputs)], std::fabs(w) / 120);
        }
      }
    }
  }
}

TEST_P(Int8Test, InfinityAndNanReachOnlyTheirOwnRowsAndColumns) {
  LinearSource source = make_linear_source(rng_, DType::kF32, {40}, 70, false);
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(source.bytes[0].data() + 1 + (33 * 70 + 5) * 4, &infinity, 4);
  const auto weight = pack(source);
  for (int64_t rows : {3, 30}) {
    std::vector<float> x = random_values(rng_, rows * 70);
    x[1 * 70 + 69] = kPoison;
    x[2 * 70] = -infinity;
    const std::vector<float> out = run(*weight, x, rows, 70);
    for (int64_t e = 0; e < rows * 40; ++e) {
      EXPECT_EQ(std::isnan(out[static_cast<size_t>(e)]), e / 40 == 1 || e / 40 == 2 || e % 40 == 33)
          << e;
    }
  }
}

// Uniform rounding in steps of s has an error of s^2 / 12; the greatest of 64 normal values is
// about 2.4 deviations: (2.4 / 127)^2 / 12 of the power of the products for the weights, a quarter
// of it for the activations.
TEST_P(Int8Test, RoundingCostsWhatItShould) {
  const LinearSource source = make_linear_source(rng_, DType::kF32, {64}, 1024, false);
  const auto weight = pack(source);
  std::vector<float> x = random_values(rng_, 16 * 1024);
  const std::vector<float> out = run(*weight, x, 16, 1024);
  double error = 0;
  double power = 0;
  for (int64_t e = 0; e < 16 * 64; ++e) {
    const LinearSum exact = linear_reference(x.data() + e / 64 * 1024, 1024, 0,
                                             [&](int64_t k) { return source.at(e % 64, k); });
    error += std::pow(double{out[static_cast<size_t>(e)]} - exact.value, 2);
    power += exact.value * exact.value;
  }
  EXPECT_GT(error / power, 2e-5);
  EXPECT_LT(error / power, 4.5e-5);
}

// An outlier takes the steps away from the others of its group, but a second term gives them back.
TEST_P(Int8Test, OutliersCostNothing) {
  const LinearSource source = make_linear_source(rng_, DType::kF32, {64}, 256, false);
  const auto weight = pack(source);
  std::vector<float> x = random_values(rng_, 16 * 256);
  for (int64_t i = 0; i < 16 * 256; i += 64) x[static_cast<size_t>(i + 3)] *= 100;
  const std::vector<float> out = run(*weight, x, 16, 256);
  const std::vector<std::vector<float>> unpacked = rows_of(*weight);
  double error = 0;
  double power = 0;
  for (int64_t e = 0; e < 16 * 64; ++e) {
    const std::vector<float>& row = unpacked[static_cast<size_t>(e % 64)];
    const LinearSum exact = linear_reference(
        x.data() + e / 64 * 256, 256, 0, [&](int64_t k) { return row[static_cast<size_t>(k)]; });
    error += std::pow(double{out[static_cast<size_t>(e)]} - exact.value, 2);
    power += exact.value * exact.value;
  }
  // With one term it would be 64 x (1 / 254)^2 / 12.
  EXPECT_LT(error / power, 1e-7);
}

// Errors of weights count as much as the norm before makes of their inputs: the documented scale,
// and nearly nothing lost where one input is many times the others.
TEST_P(Int8Test, WeightsOfLargeInputsErrLeast) {
  constexpr int64_t kInputs = 130;
  const LinearSource source = make_linear_source(rng_, DType::kF32, {48}, kInputs, false);
  std::vector<float> norm(kInputs, 1.0f);
  norm[7] = -40;
  norm[128] = 0;
  norm[129] = 0;
  const auto even = pack(source);
  const auto weighed = pack_int8(pool_, isa(), dot(), source.parts, {}, norm);
  // Where the norm says nothing, all count the same.
  const auto share = [&](int64_t k) {
    return k < 64 ? std::fabs(norm[static_cast<size_t>(k)]) / 40 : 1;
  };
  double even_error = 0;
  double weighed_error = 0;
  for (int64_t j = 0; j < 48; ++j) {
    const auto plain = plain_weights(
        kInputs, [&](int64_t k) { return source.at(j, k); }, share);
    const std::vector<float> row = row_of(*weighed, j);
    for (int64_t k = 0; k < kInputs; ++k) {
      const PlainGroup& group = plain[static_cast<size_t>(k / kInt8Group)];
      ASSERT_EQ(row[static_cast<size_t>(k)], group.at(k % kInt8Group)) << j << ", " << k;
    }
    even_error += std::pow(row_of(*even, j)[7] - source.at(j, 7), 2);
    weighed_error += std::pow(row[7] - source.at(j, 7), 2);
  }
  EXPECT_LT(weighed_error, even_error / 5);
}

TEST_P(Int8Test, EmbeddingGivesTheWeightsOfTheProduct) {
  const LinearSource source = make_linear_source(rng_, DType::kBF16, {75}, 131, false);
  const auto table = pack(source);
  std::vector<int32_t> tokens = {0, 74, 15, 16, 64, 74};
  for (int32_t i = 0; i < 75; ++i) tokens.push_back(i);
  const int64_t rows = static_cast<int64_t>(tokens.size());
  std::vector<float> out(static_cast<size_t>(rows * 133), kPoison);
  embedding(pool_, *table, tokens, view(out, rows, 131, 133));
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t token = tokens[static_cast<size_t>(i)];
    const std::vector<PlainGroup> plain =
        plain_weights(131, [&](int64_t k) { return source.at(token, k); });
    for (int64_t k = 0; k < 133; ++k) {
      const float got = out[static_cast<size_t>(i * 133 + k)];
      if (k >= 131) {
        EXPECT_TRUE(std::isnan(got));
        continue;
      }
      const PlainGroup& group = plain[static_cast<size_t>(k / kInt8Group)];
      ASSERT_EQ(
          got, static_cast<float>(group.values[static_cast<size_t>(k % kInt8Group)]) * group.scale);
    }
  }
}

TEST_P(Int8Test, BadInputIsRefused) {
  const LinearSource source = make_linear_source(rng_, DType::kF32, {20}, 30, false);
  const auto weight = pack(source);
  std::vector<float> x(60);
  std::vector<float> out(60);
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 29, 30), *weight, view(out, 2, 20, 20)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 30, 30), *weight, view(out, 1, 20, 20)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { pack_int8(pool_, isa(), dot(), {}, {}); }), "INVALID_ARGUMENT");
  const auto broken = [](int64_t, int64_t, void*) {
    throw Error(ErrorCode::kIo, "the file ends early");
  };
  const HostMatrix unreadable[] = {source.parts[0], {broken, DType::kF32, 200, 30}};
  EXPECT_EQ(error_code_of([&] { pack_int8(pool_, isa(), dot(), unreadable, {}); }), "IO");
}

std::string case_name(const testing::TestParamInfo<std::tuple<Kernel, int>>& info) {
  return kernel_name(std::get<0>(info.param)) + "_" + std::to_string(std::get<1>(info.param)) +
         "_threads";
}

INSTANTIATE_TEST_SUITE_P(All, Int8Test,
                         testing::Combine(testing::ValuesIn(kernels_and_amx()),
                                          testing::Values(1, 3)),
                         case_name);

}  // namespace
}  // namespace block_attention
