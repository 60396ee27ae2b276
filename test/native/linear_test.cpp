// `linear` and `embedding` against a float64 reference, against the documented summation order bit
// by bit, and against themselves over rows, threads and instruction sets.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/dtype.hpp"
#include "core/error.hpp"
#include "cpu/amx_bf16_kernels.hpp"
#include "cpu/embedding.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"
#include "linear_source.hpp"
#include "linear_support.hpp"

namespace block_attention {
namespace {

using test::error_code_of;
using test::fuses;
using test::kPoison;
using test::linear_reference;
using test::LinearSource;
using test::LinearSum;
using test::make_linear_source;
using test::random_values;
using test::view;

constexpr uint32_t kSeed = 20260117;

// The order that linear_kernels.hpp promises for pairs.
float documented_sum_of_pairs(const LinearSource& source, const float* x, int64_t feature) {
  float total = 0;
  for (int64_t first = 0; first < source.in_features; first += 2 * kSumBlock) {
    const int64_t end = std::min(source.in_features, first + 2 * kSumBlock);
    float sum = 0;
    for (int64_t k = first; k < end; k += 2) {
      if (k + 1 < end) {
        sum = std::fma(bf16_to_f32(f32_to_bf16(x[k + 1])), source.at(feature, k + 1), sum);
      }
      sum = std::fma(bf16_to_f32(f32_to_bf16(x[k])), source.at(feature, k), sum);
    }
    total = first == 0 ? sum : total + sum;
  }
  return source.bias.empty() ? total : total + source.bias[static_cast<size_t>(feature)];
}

// The order that linear_kernels.hpp promises.
float documented_sum(const LinearSource& source, const float* x, int64_t feature, bool fused) {
  float total = 0;
  for (int64_t first = 0; first < source.in_features; first += kSumBlock) {
    const int64_t end = std::min(source.in_features, first + kSumBlock);
    float sum = 0;
    for (int64_t k = first; k < end; ++k) {
      const float w = source.at(feature, k);
      if (fused) {
        sum = std::fma(x[k], w, sum);
      } else {
        const volatile float product = x[k] * w;
        sum += product;
      }
    }
    total = first == 0 ? sum : total + sum;
  }
  return source.bias.empty() ? total : total + source.bias[static_cast<size_t>(feature)];
}

// The order that amx_bf16_kernels.hpp promises.
float documented_sum_of_tiles(const LinearSource& source, const float* x, int64_t feature) {
  constexpr int64_t kStep = 2 * kAmxStepPairs;
  const auto input = [&](int64_t k) {
    return k < source.in_features ? bf16_to_f32(f32_to_bf16(x[k])) : 0;
  };
  const auto weight = [&](int64_t k) { return k < source.in_features ? source.at(feature, k) : 0; };
  float total = 0;
  for (int64_t first = 0; first < source.in_features; first += 2 * kSumBlock) {
    const int64_t end = std::min(source.in_features, first + 2 * kSumBlock);
    float sum = 0;
    for (int64_t step = first; step < end; step += kStep) {
      float even = 0;
      float odd = 0;
      for (int64_t k = step; k < step + kStep; k += 2) {
        even = std::fma(input(k), weight(k), even);
        odd = std::fma(input(k + 1), weight(k + 1), odd);
      }
      sum += even + odd;
    }
    total = first == 0 ? sum : total + sum;
  }
  return source.bias.empty() ? total : total + source.bias[static_cast<size_t>(feature)];
}

// `rounding`: of an input, relative.
void expect_near_float64(const LinearSource& source, const float* x, int64_t feature, float got,
                         double rounding) {
  const double bias = source.bias.empty() ? 0 : double{source.bias[static_cast<size_t>(feature)]};
  const LinearSum expected = linear_reference(x, source.in_features, bias,
                                              [&](int64_t k) { return source.at(feature, k); });
  // n roundings of at most 2^-24 of a partial sum that never exceeds `size`, as a random walk
  // (Higham & Mary 2019): standard deviation at most sqrt(n / 3) x 2^-24 x size. Twice sqrt(n)
  // is 3.5 of them, and two for short sums.
  const double blocks = std::ceil(static_cast<double>(source.in_features) / kSumBlock);
  const double n = std::fmin(static_cast<double>(source.in_features), kSumBlock) + blocks + 1;
  ASSERT_LE(std::fabs(double{got} - expected.value),
            ((2 * std::sqrt(n) + 2) * 0x1p-24 + rounding) * expected.size);
}

class LinearTest : public testing::TestWithParam<std::tuple<Isa, int>> {
 protected:
  LinearTest() : pool_(std::get<1>(GetParam())), op_(pool_, isa()), rng_(kSeed) {
    RecordProperty("seed", static_cast<int>(kSeed));
  }
  Isa isa() const { return std::get<0>(GetParam()); }

  bool in_pairs(const LinearSource& source) const {
    return has_bf16_dots(isa()) && source.parts[0].dtype == DType::kBF16;
  }

  std::unique_ptr<PackedLinear> pack(const LinearSource& source) {
    return pack_linear(pool_, isa(), source.parts, source.bias);
  }

  std::vector<float> run(const PackedLinear& weight, std::vector<float>& x, int64_t rows,
                         int64_t x_stride) {
    return test::run_linear(op_, weight, x, rows, x_stride);
  }

  void check(const LinearSource& source, int64_t rows, int64_t x_gap) {
    const int64_t stride = source.in_features + x_gap;
    std::vector<float> x = random_values(rng_, rows * stride);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = source.in_features; k < stride; ++k)
        x[static_cast<size_t>(i * stride + k)] = kPoison;
    }
    const auto weight = pack(source);
    const std::vector<float> out = run(*weight, x, rows, stride);
    // All elements of small outputs, a sample of large ones (an odd step, so that columns vary).
    const int64_t elements = rows * source.out_features;
    const int64_t step = 1 | (elements * source.in_features / 300'000);
    for (int64_t e = 0; e < elements; e += step) {
      const int64_t row = e / source.out_features;
      const int64_t feature = e % source.out_features;
      const float* x_row = x.data() + row * stride;
      const float got = out[static_cast<size_t>(e)];
      const bool pairs = in_pairs(source);
      expect_near_float64(source, x_row, feature, got, pairs ? 0x1p-8 : 0);
      const float documented = !pairs ? documented_sum(source, x_row, feature, fuses(isa()))
                               : isa() == Isa::kAmxBf16
                                   ? documented_sum_of_tiles(source, x_row, feature)
                                   : documented_sum_of_pairs(source, x_row, feature);
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(documented))
          << "row " << row << " feature " << feature << ", " << rows << " x " << source.out_features
          << " x " << source.in_features << " " << dtype_name(source.parts[0].dtype);
    }
  }

  ThreadPool pool_;
  LinearOp op_;
  std::mt19937 rng_;
};

TEST_P(LinearTest, EveryRowCountUpToThreeGroups) {
  for (DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const LinearSource source = make_linear_source(rng_, dtype, {16 * 5 + 7}, 517, true);
    for (int64_t rows = 1; rows <= 43; ++rows) check(source, rows, 5);
  }
}

TEST_P(LinearTest, RandomRaggedShapes) {
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(rng_);
  };
  const DType dtypes[] = {DType::kBF16, DType::kF16, DType::kF32};
  for (int round = 0; round < 60; ++round) {
    std::vector<int64_t> parts(static_cast<size_t>(draw(1, 3)));
    for (int64_t& rows : parts) rows = draw(1, 90);
    const LinearSource source = make_linear_source(rng_, dtypes[round % 3], parts,
                                                   draw(1, round % 4 == 0 ? 1700 : 300), round % 2);
    check(source, round % 5 == 0 ? draw(100, 900) : draw(1, 70), draw(0, 9));
  }
}

// Where threads begin to read lies within the weight, for as many panels as are computed at once
// each.
TEST_P(LinearTest, ThreadsBeginToReadWithinTheWeight) {
  for (DType dtype : {DType::kBF16, DType::kF32}) {
    for (int64_t outputs : {16 * 5 + 7, 1, 16 * 48}) {
      const LinearSource source = make_linear_source(rng_, dtype, {outputs}, 70, false);
      const auto weight = pack(source);
      EXPECT_EQ(op_.reads(*weight, 900).begin, nullptr);
      for (int64_t rows = 1; rows <= 8; ++rows) {
        const NextReads reads = op_.reads(*weight, rows);
        if (isa() == Isa::kAmxBf16 && in_pairs(source) && rows > kOrderOfTilesRows) {
          EXPECT_EQ(reads.begin, nullptr);
          continue;
        }
        EXPECT_EQ(reads.begin, weight->panels());
        EXPECT_EQ(reads.tasks, pool_.threads());
        const size_t panels = static_cast<size_t>(outputs / 16);
        EXPECT_EQ(reads.run_bytes % weight->panel_bytes(), 0u);
        EXPECT_EQ(reads.task_bytes, static_cast<size_t>(reads.runs) * reads.run_bytes);
        EXPECT_LE(static_cast<size_t>(reads.tasks) * reads.task_bytes,
                  panels * weight->panel_bytes());
      }
    }
  }
}

TEST_P(LinearTest, SingleElement) {
  check(make_linear_source(rng_, DType::kBF16, {1}, 1, false), 1, 0);
  check(make_linear_source(rng_, DType::kF32, {1, 1, 1}, 1, true), 1, 0);
}

TEST_P(LinearTest, RowsOfALargeCallEqualSingleRows) {
  for (DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const LinearSource source = make_linear_source(rng_, dtype, {100, 37, 37}, 1100, true);
    const auto weight = pack(source);
    std::vector<float> x = random_values(rng_, 2048 * 1100);
    const std::vector<float> all = run(*weight, x, 2048, 1100);
    for (int64_t row = 0; row < 2048; row += 1 + row % 3) {
      std::vector<float> one(x.begin() + row * 1100, x.begin() + (row + 1) * 1100);
      const std::vector<float> alone = run(*weight, one, 1, 1100);
      ASSERT_EQ(std::memcmp(alone.data(), all.data() + row * 174, 174 * sizeof(float)), 0)
          << "row " << row;
    }
  }
}

// Where products and sums are subnormal, which some instructions make zero, and others do not.
TEST_P(LinearTest, RowsOfALargeCallEqualSingleRowsAmongSubnormalNumbers) {
  const LinearSource source = make_linear_source(rng_, DType::kBF16, {64}, 1100, false);
  const auto weight = pack(source);
  std::vector<float> x = random_values(rng_, 40 * 1100);
  for (float& value : x) value *= 4e-38f;
  const std::vector<float> all = run(*weight, x, 40, 1100);
  for (int64_t rows = 1; rows <= 4; ++rows) {
    std::vector<float> few(x.begin(), x.begin() + rows * 1100);
    const std::vector<float> alone = run(*weight, few, rows, 1100);
    ASSERT_EQ(std::memcmp(alone.data(), all.data(), alone.size() * sizeof(float)), 0) << rows;
  }
}

// More inputs than activations are kept in a cache of, and an output that is written past it where
// its rows lie in whole cache lines.
TEST_P(LinearTest, WideAndLargeOutputsHaveTheSameBits) {
  constexpr int64_t kRows = 600;
  const LinearSource source = make_linear_source(rng_, DType::kBF16, {1600}, 2'600, true);
  if (!in_pairs(source)) GTEST_SKIP() << "the same walk as that of smaller outputs";
  check(source, 40, 3);
  const auto weight = pack(source);
  std::vector<float> x = random_values(rng_, kRows * 2'600);
  const std::vector<float> expected = run(*weight, x, kRows, 2'600);
  const Buffer aligned = allocate_host_memory(expected.size() * sizeof(float));
  op_.run(view(x, kRows, 2'600, 2'600), *weight, {aligned.data(), DType::kF32, kRows, 1600, 1600});
  EXPECT_EQ(std::memcmp(aligned.data(), expected.data(), aligned.bytes()), 0);
}

TEST_P(LinearTest, InfinityAndNanReachOnlyTheirOwnRowsAndColumns) {
  LinearSource source = make_linear_source(rng_, DType::kF32, {40}, 70, false);
  const float infinity = std::numeric_limits<float>::infinity();
  std::memcpy(source.bytes[0].data() + 1 + (33 * 70 + 5) * 4, &infinity, 4);
  const auto weight = pack(source);
  for (int64_t rows : {3, 30}) {
    std::vector<float> x = random_values(rng_, rows * 70);
    x[1 * 70 + 69] = kPoison;
    const std::vector<float> out = run(*weight, x, rows, 70);
    for (int64_t e = 0; e < rows * 40; ++e) {
      EXPECT_EQ(std::isnan(out[static_cast<size_t>(e)]), e / 40 == 1) << e;
      if (e / 40 != 1) {
        EXPECT_EQ(std::isinf(out[static_cast<size_t>(e)]), e % 40 == 33) << e;
      }
    }
  }
}

TEST_P(LinearTest, EmbeddingReadsTheSourceRowsBack) {
  for (DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const LinearSource source = make_linear_source(rng_, dtype, {75}, 131, false);
    const auto table = pack(source);
    std::vector<int32_t> tokens = {0, 74, 15, 16, 64, 74};
    for (int32_t i = 0; i < 75; ++i) tokens.push_back(i);
    const int64_t rows = static_cast<int64_t>(tokens.size());
    std::vector<float> out(static_cast<size_t>(rows * 133), kPoison);
    embedding(pool_, *table, tokens, view(out, rows, 131, 133));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < 133; ++k) {
        const float got = out[static_cast<size_t>(i * 133 + k)];
        if (k >= 131) {
          EXPECT_TRUE(std::isnan(got));
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(got),
                    std::bit_cast<uint32_t>(source.at(tokens[static_cast<size_t>(i)], k)));
        }
      }
    }
  }
}

TEST_P(LinearTest, BadInputIsRefused) {
  const LinearSource source = make_linear_source(rng_, DType::kF32, {20}, 30, false);
  const auto weight = pack(source);
  std::vector<float> x(60);
  std::vector<float> out(60);
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 29, 30), *weight, view(out, 2, 20, 20)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 30, 30), *weight, view(out, 1, 20, 20)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 30, 29), *weight, view(out, 2, 20, 20)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { op_.run(view(x, 2, 30, 30), *weight, view(out, 2, 21, 21)); }),
            "INVALID_ARGUMENT");
  EXPECT_EQ(error_code_of([&] { pack_linear(pool_, isa(), {}, {}); }), "INVALID_ARGUMENT");
  const std::vector<float> short_bias(19);
  EXPECT_EQ(error_code_of([&] { pack_linear(pool_, isa(), source.parts, short_bias); }),
            "INVALID_ARGUMENT");
  const HostMatrix other[] = {source.parts[0], {source.parts[0].read, DType::kBF16, 20, 30}};
  EXPECT_EQ(error_code_of([&] { pack_linear(pool_, isa(), other, {}); }), "INVALID_ARGUMENT");
  const auto broken = [](int64_t, int64_t, void*) {
    throw Error(ErrorCode::kIo, "the file ends early");
  };
  const HostMatrix unreadable[] = {source.parts[0], {broken, DType::kF32, 200, 30}};
  EXPECT_EQ(error_code_of([&] { pack_linear(pool_, isa(), unreadable, {}); }), "IO");
  for (int32_t token : {-1, 20}) {
    EXPECT_EQ(error_code_of([&] {
                embedding(pool_, *weight, {&token, 1}, view(out, 1, 30, 30));
              }),
              "INVALID_ARGUMENT");
  }
}

std::string case_name(const testing::TestParamInfo<std::tuple<Isa, int>>& info) {
  return std::string(isa_name(std::get<0>(info.param))) + "_" +
         std::to_string(std::get<1>(info.param)) + "_threads";
}

INSTANTIATE_TEST_SUITE_P(All, LinearTest,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::Values(1, 2, 3)),
                         case_name);

// Packed on one instruction set, used on the others with float32 arithmetic: neither the layout
// nor, where they fuse, the bits depend on it.
TEST(LinearAcrossIsas, SameLayoutSameBits) {
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {130, 11}, 1030, true);
  std::vector<float> x = random_values(rng, 61 * 1030);
  ThreadPool pool(2);
  std::vector<std::vector<char>> layouts;
  std::vector<std::vector<float>> fused;
  for (Isa isa : supported_isas()) {
    if (has_bf16_dots(isa)) continue;
    const auto weight = pack_linear(pool, isa, source.parts, source.bias);
    const char* bytes = static_cast<const char*>(weight->panels());
    layouts.emplace_back(bytes, bytes + weight->panel_count() * 1030 * 16 * 2);
    EXPECT_EQ(layouts.back(), layouts.front()) << isa_name(isa);
    if (!fuses(isa)) continue;
    std::vector<float> out(61 * 141);
    LinearOp(pool, isa).run(view(x, 61, 1030, 1030), *weight, view(out, 61, 141, 141));
    fused.push_back(out);
    EXPECT_EQ(std::memcmp(out.data(), fused.front().data(), out.size() * sizeof(float)), 0)
        << isa_name(isa);
  }
}

}  // namespace
}  // namespace block_attention
