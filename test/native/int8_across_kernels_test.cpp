// int8 products between kernels: the same integers and bits by all of them, however activations are
// kept; and what AMX asks of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cpu/aligned_floats.hpp"
#include "cpu/int8_linear.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/isa.hpp"
#include "cpu/stream_output.hpp"
#include "cpu/thread_pool.hpp"
#include "int8_kernel_cases.hpp"
#include "linear_source.hpp"
#include "linear_support.hpp"

namespace block_attention {
namespace {

using test::can_run;
using test::fuses;
using test::Kernel;
using test::kernel_name;
using test::kernels;
using test::kNoAmx;
using test::LinearSource;
using test::make_linear_source;
using test::random_values;
using test::view;

constexpr uint32_t kSeed = 20261125;

TEST(Int8Amx, IsForAvx512Alone) {
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni})
    EXPECT_NE(best_int8_dot(isa), Int8Dot::kAmx);
}

#if defined(__x86_64__)
// A thread that kept tiles in use would cost every switch to another one the saving of them.
TEST(Int8Amx, NoTilesStayInUse) {
  const Kernel amx{Isa::kAvx512, Int8Dot::kAmx};
  if (!has_avx512(supported_isas().back()) || !can_run(amx)) GTEST_SKIP() << kNoAmx;
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {64}, 128, false);
  std::vector<float> x = random_values(rng, 40 * 128);
  ThreadPool pool(1);
  const auto weight = pack_int8(pool, amx.isa, amx.dot, source.parts, source.bias);
  Int8LinearOp op(pool, amx.isa, amx.dot);
  test::run_linear(op, *weight, x, 40, 128);
  uint32_t in_use = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(in_use), "=d"(high) : "c"(1));
  EXPECT_EQ(in_use >> 17 & 3, 0u);
}
#endif

// What stands where nothing is written.
constexpr char kUntouched = 0x55;

// A term of the activations of a call as the products take it for: integers, and what is known of
// each group beside them.
struct KeptActivations {
  explicit KeptActivations(int64_t places)
      : values(static_cast<size_t>(places * kInt8RowBytes), kUntouched),
        scales(static_cast<size_t>(places), -1.0f),
        corrections(static_cast<size_t>(places), -1) {}
  Int8Rows rows() { return {values.data(), scales.data(), corrections.data()}; }

  // Input `input` of the group of a row that stands at `place`.
  int at(Int8Dot dot, size_t place, size_t input) const {
    const char* row = values.data() + place * kInt8RowBytes;
    if (dot == Int8Dot::kPairs) {
      int16_t word;
      std::memcpy(&word, row + 2 * input, 2);
      return word;
    }
    const int first =
        dot == Int8Dot::kQuads ? static_cast<uint8_t>(row[input]) : static_cast<int8_t>(row[input]);
    const int second = static_cast<int8_t>(row[input + kInt8Group]);
    return dot == Int8Dot::kAmx ? first + second : second == 0 ? first : -first;
  }

  bool is_untouched(size_t place) const {
    const auto begin = values.begin() + static_cast<int64_t>(place) * kInt8RowBytes;
    return std::all_of(begin, begin + kInt8RowBytes, [](char c) { return c == kUntouched; }) &&
           scales[place] == -1 && corrections[place] == -1;
  }

  std::vector<char> values;
  std::vector<float> scales;
  std::vector<int32_t> corrections;
};

// A group of a row, whatever keeps it. Scales as bits, since NaN is not itself.
struct Meaning {
  uint32_t scale = 0;
  std::vector<int> integers;
  bool has_second = false;
  uint32_t second_scale = 0;
  std::vector<int> second;

  bool operator==(const Meaning&) const = default;
};

struct Activations {
  int64_t rows;
  int64_t inputs;
  int64_t stride;
  const float* x;
};

// Group by group, row by row; checks what need not be the same for all kernels.
std::vector<Meaning> kept(const Kernel& kernel, const Activations& of,
                          std::vector<char>* values = nullptr) {
  const int64_t groups = int8_groups(of.inputs);
  const int64_t places = of.rows * groups;
  // Groups are found out about in fours, but nothing is kept of what lacks of those.
  KeptActivations first(places + 3);
  KeptActivations second(places + 3);
  std::vector<uint16_t> with_second(static_cast<size_t>(groups));
  int8_quantize_kernels(kernel.isa, kernel.dot)
      .activations(of.x, of.stride, of.rows, of.inputs,
                   {first.rows(), second.rows(), with_second.data()});
  const auto integers = [&](const KeptActivations& term, size_t place) {
    std::vector<int> all;
    int negative = 0;
    for (size_t i = 0; i < kInt8Group; ++i) {
      all.push_back(term.at(kernel.dot, place, i));
      negative -= std::min(all.back(), 0);
    }
    EXPECT_EQ(term.corrections[place], kernel.dot == Int8Dot::kQuads ? negative : 0);
    return all;
  };
  std::vector<Meaning> meanings(static_cast<size_t>(places));
  for (size_t place = 0; place < meanings.size(); ++place) {
    Meaning& group = meanings[place];
    const size_t rows = static_cast<size_t>(of.rows);
    group.scale = std::bit_cast<uint32_t>(first.scales[place]);
    group.integers = integers(first, place);
    group.has_second = (with_second[place / rows] >> place % rows & 1) != 0;
    if (!group.has_second) {
      EXPECT_TRUE(second.is_untouched(place)) << place;
      continue;
    }
    group.second_scale = std::bit_cast<uint32_t>(second.scales[place]);
    group.second = integers(second, place);
  }
  for (size_t place = meanings.size(); place < first.scales.size(); ++place)
    EXPECT_TRUE(first.is_untouched(place) && second.is_untouched(place));
  if (values != nullptr) {
    *values = first.values;
    values->insert(values->end(), second.values.begin(), second.values.end());
  }
  return meanings;
}

// By all instruction sets and for all products; AMX needs no CPU that has it for this. Gives what
// they are.
std::vector<Meaning> same_however_kept(const Activations& of) {
  std::vector<Meaning> all;
  for (Int8Dot dot : {Int8Dot::kPairs, Int8Dot::kQuads, Int8Dot::kAmx}) {
    std::vector<char> all_values;
    for (Isa isa : supported_isas()) {
      SCOPED_TRACE(kernel_name({isa, dot}));
      std::vector<char> values;
      const std::vector<Meaning> own = kept({isa, dot}, of, &values);
      if (all.empty()) all = own;
      if (all_values.empty()) all_values = values;
      EXPECT_TRUE(own == all);
      EXPECT_EQ(values, all_values);
    }
  }
  return all;
}

std::vector<bool> have_second(const std::vector<Meaning>& groups) {
  std::vector<bool> have;
  for (const Meaning& group : groups) have.push_back(group.has_second);
  return have;
}

TEST(Int8AcrossKernels, SameActivationsHoweverTheyAreKept) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kInputs = 190;
  std::mt19937 rng(kSeed);
  std::vector<float> x = random_values(rng, kRows * kInputs);
  // The greatest magnitude of either sign; an outlier, for a second term.
  x[0] = 20;
  x[1] = -20;
  x[2 * kInputs + 70] = 500;
  const auto groups = same_however_kept({kRows, kInputs, kInputs, x.data()});
  EXPECT_EQ(groups[0].integers[0], kInt8ActivationMax);
  EXPECT_EQ(groups[0].integers[1], -kInt8ActivationMax);
  std::vector<bool> with_second(15);
  with_second[kRows + 2] = true;
  EXPECT_EQ(have_second(groups), with_second);
}

// What the first term of the greatest numbers stands for can pass them, and a second term could not
// tell what is left.
TEST(Int8AcrossKernels, GreatestNumbersHaveNoSecondTerm) {
  constexpr float kMost = std::numeric_limits<float>::max();
  constexpr float kLimit = kInt8ActivationMax * kInt8SecondMostScale;
  const float outliers[] = {kMost,  -kMost,  std::nextafter(kLimit, kMost),
                            kLimit, -kLimit, 0x1p100f};
  constexpr int64_t kRows = std::size(outliers);
  std::mt19937 rng(kSeed);
  std::vector<float> x = random_values(rng, kRows * kInt8Group);
  for (size_t row = 0; row < kRows; ++row) {
    for (size_t i = 0; i < kInt8Group; ++i) x[row * kInt8Group + i] *= outliers[row] / 1000;
    x[row * kInt8Group + 7 * row] = outliers[row];
  }
  const auto groups = same_however_kept({kRows, kInt8Group, kInt8Group, x.data()});
  EXPECT_EQ(have_second(groups), (std::vector<bool>{false, false, false, true, true, true}));
  for (size_t row = 0; row < kRows; ++row) {
    EXPECT_EQ(groups[row].integers[7 * row],
              outliers[row] > 0 ? kInt8ActivationMax : -kInt8ActivationMax);
  }
}

// Where one value is all there is of 36, it is six times the root of the mean square: as much as a
// value may be that is no outlier.
TEST(Int8AcrossKernels, OneValueOf36IsNoOutlier) {
  // Behind a whole group, and without one.
  for (const int64_t before : {int64_t{0}, kInt8Group}) {
    for (const int64_t count : {35, 36, 37, 64}) {
      std::vector<float> x(static_cast<size_t>(before + count), 1.0f);
      std::fill(x.begin() + before, x.end(), 0.0f);
      x.back() = -0.7f;
      const auto groups = same_however_kept({1, before + count, before + count, x.data()});
      EXPECT_EQ(groups.back().has_second, count > 36) << before << " + " << count;
    }
  }
}

// Groups are found out about in batches of 16, and there in fours: each is what it is alone.
TEST(Int8AcrossKernels, SameActivationsHoweverManyThereAre) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::pair<int64_t, int64_t> sizes[] = {{1, 15}, {5, 3},  {15, 1}, {1, 16}, {4, 4},
                                               {16, 1}, {1, 17}, {16, 2}, {1, 33}, {3, 11},
                                               {11, 3}, {16, 3}, {1, 1},  {2, 1},  {3, 1}};
  std::mt19937 rng(kSeed);
  for (const auto& [rows, groups] : sizes) {
    for (const int64_t lack : {0, 24}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(groups) + ", lacks " +
                   std::to_string(lack));
      const int64_t inputs = groups * kInt8Group - lack;
      const int64_t stride = inputs + 3;
      std::vector<float> x = random_values(rng, rows * stride);
      const auto group_at = [&](int64_t place) {
        return x.data() + place % rows * stride + place / rows * kInt8Group;
      };
      const auto count_at = [&](int64_t place) {
        return std::min(kInt8Group, inputs - place / rows * kInt8Group);
      };
      for (int64_t place = 0; place < rows * groups; ++place) {
        float* group = group_at(place);
        if (place % 7 == 1) std::fill_n(group, count_at(place), 0.0f);
        if (place % 7 == 2) group[39] = test::kPoison;
        if (place % 7 == 3) group[5] = -kInfinity;
        if (place % 3 == 0) group[17] = 400;
      }
      const auto together = same_however_kept({rows, inputs, stride, x.data()});
      for (int64_t place = 0; place < rows * groups; ++place) {
        const Meaning& group = together[static_cast<size_t>(place)];
        const auto alone = same_however_kept({1, count_at(place), stride, group_at(place)});
        EXPECT_TRUE(group == alone[0]) << place;
        if (place % 7 == 2 || place % 7 == 3) {
          EXPECT_TRUE(std::isnan(std::bit_cast<float>(group.scale))) << place;
          EXPECT_EQ(group.integers, std::vector<int>(kInt8Group)) << place;
        }
        EXPECT_EQ(group.has_second, place % 3 == 0 && place % 7 != 2 && place % 7 != 3) << place;
      }
    }
  }
}

// The integers and scales are the same everywhere, and, where multiply-adds are fused, so is the
// result.
TEST(Int8AcrossKernels, SameWeightsSameBits) {
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {130, 11}, 1030, true);
  std::vector<float> x = random_values(rng, 61 * 1030);
  ThreadPool pool(2);
  std::vector<float> weights;
  std::vector<float> fused;
  for (const Kernel& kernel : kernels()) {
    const auto weight = pack_int8(pool, kernel.isa, kernel.dot, source.parts, source.bias);
    std::vector<float> values(141 * 1030);
    for (int64_t j = 0; j < 141; ++j) weight->read_row(j, values.data() + j * 1030);
    if (weights.empty()) weights = values;
    EXPECT_EQ(values, weights) << kernel_name(kernel);
    if (!fuses(kernel.isa)) continue;
    std::vector<float> out(61 * 141);
    Int8LinearOp(pool, kernel.isa, kernel.dot)
        .run(view(x, 61, 1030, 1030), *weight, view(out, 61, 141, 141));
    if (fused.empty()) fused = out;
    EXPECT_EQ(std::memcmp(out.data(), fused.data(), out.size() * sizeof(float)), 0)
        << kernel_name(kernel);
  }
}

// Second terms in every group of many rows: tiles of them are gathered where there is room.
TEST(Int8AcrossKernels, SameBitsWhereMostGroupsHaveSecondTerms) {
  constexpr int64_t kRows = 200;
  constexpr int64_t kInputs = 2'200;
  constexpr int64_t kOutputs = 40;
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {kOutputs}, kInputs, false);
  std::vector<float> x = random_values(rng, kRows * kInputs);
  // All of them at first, then ever fewer.
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t k = row % 64; k < kInputs; k += kInt8Group) {
      if (row < 60 || rng() % 4 == 0) x[static_cast<size_t>(row * kInputs + k)] = 300;
    }
  }
  ThreadPool pool(2);
  std::vector<float> fused;
  for (const Kernel& kernel : kernels()) {
    if (!fuses(kernel.isa)) continue;
    const auto weight = pack_int8(pool, kernel.isa, kernel.dot, source.parts, source.bias);
    std::vector<float> out(kRows * kOutputs);
    Int8LinearOp(pool, kernel.isa, kernel.dot)
        .run(view(x, kRows, kInputs, kInputs), *weight, view(out, kRows, kOutputs, kOutputs));
    if (fused.empty()) fused = out;
    EXPECT_EQ(std::memcmp(out.data(), fused.data(), out.size() * sizeof(float)), 0)
        << kernel_name(kernel);
  }
}

// An outlier in every group of a share of the rows, and in one of 16 groups of the others.
std::vector<float> with_outliers(std::mt19937& rng, int64_t rows, int64_t inputs, double share) {
  std::vector<float> x = random_values(rng, rows * inputs);
  for (int64_t row = 0; row < rows; ++row) {
    const bool all = static_cast<double>(row) < share * static_cast<double>(rows);
    for (int64_t k = row % kInt8Group; k < inputs; k += kInt8Group) {
      if (all || rng() % 16 == 0) x[static_cast<size_t>(row * inputs + k)] = 300;
    }
  }
  return x;
}

// `sizes`: of each call the rows, and the share of them that have an outlier in every group.
void expect_second_terms_of_the_call(int64_t inputs, int threads,
                                     std::span<const std::pair<int64_t, double>> sizes) {
  constexpr int64_t kOutputs = 210;
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {kOutputs}, inputs, false);
  ThreadPool pool(threads);
  struct Call {
    std::vector<float> x;
    int64_t rows;
    std::vector<float> expected;
  };
  std::vector<Call> calls;
  for (const auto& [rows, share] : sizes)
    calls.push_back({with_outliers(rng, rows, inputs, share), rows, {}});
  for (const Kernel& kernel : kernels()) {
    if (!fuses(kernel.isa)) continue;
    const auto weight = pack_int8(pool, kernel.isa, kernel.dot, source.parts, source.bias);
    Int8LinearOp op(pool, kernel.isa, kernel.dot);
    for (Call& call : calls) {
      const std::vector<float> out = test::run_linear(op, *weight, call.x, call.rows, inputs);
      if (call.expected.empty()) call.expected = out;
      EXPECT_EQ(std::memcmp(out.data(), call.expected.data(), out.size() * sizeof(float)), 0)
          << kernel_name(kernel) << ", " << call.rows << " rows";
    }
  }
}

// Second terms that were gathered for a part are used for the next one of the same rows, but never
// those of other rows or of another call; and where there are too many of them, a part is taken in
// pieces. Of one block of inputs, and of two, which take turns.
TEST(Int8AcrossKernels, SecondTermsAreThoseOfTheCall) {
  constexpr std::pair<int64_t, double> kSizes[] = {{200, 0.1}, {200, 0.1},    {200, 0.0},
                                                   {300, 0.1}, {300, 0.7},    {300, 1.0},
                                                   {300, 0.0}, {1'600, 0.05}, {272, 0.3}};
  for (const int64_t inputs : {1'100, 2'200}) expect_second_terms_of_the_call(inputs, 1, kSizes);
}

// A call of many rows goes in passes of 768, and a thread mostly has the same blocks of rows of
// each.
TEST(Int8AcrossKernels, SecondTermsAreThoseOfThePass) {
  constexpr std::pair<int64_t, double> kSizes[] = {
      {8 * 768, 0.0}, {8 * 768, 0.0}, {8 * 768, 0.0}, {8 * 768, 0.0}};
  expect_second_terms_of_the_call(130, 3, kSizes);
}

// An output that leaves the caches goes past them where it begins at cache lines.
void expect_same_wherever_the_output_lies(const Kernel& kernel, int64_t rows, int64_t inputs,
                                          std::vector<float>& expected) {
  constexpr int64_t kOutputs = 1'100;
  constexpr int64_t kStride = 1'104;
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {kOutputs}, inputs, true);
  std::vector<float> x = random_values(rng, rows * inputs);
  ThreadPool pool(2);
  AlignedFloats memory;
  memory.reserve(rows * kStride + 1);
  const auto weight = pack_int8(pool, kernel.isa, kernel.dot, source.parts, source.bias);
  Int8LinearOp op(pool, kernel.isa, kernel.dot);
  for (const int64_t first : {0, 1}) {
    std::fill_n(memory.data(), rows * kStride + 1, test::kPoison);
    const Tensor out = {memory.data() + first, DType::kF32, rows, kOutputs, kStride};
    EXPECT_EQ(streams(out, pool.threads()), first == 0);
    op.run(view(x, rows, inputs, inputs), *weight, out);
    const std::vector<float> values(out.f32(), out.f32() + rows * kStride);
    if (expected.empty()) expected = values;
    EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0)
        << kernel_name(kernel) << ", from " << first << " on";
    EXPECT_TRUE(std::isnan(values[kOutputs]));
  }
}

TEST(Int8AcrossKernels, SameBitsWhereverTheOutputLies) {
  for (const Kernel& kernel : kernels()) {
    std::vector<float> expected;
    expect_same_wherever_the_output_lies(kernel, 800, 90, expected);
  }
}

// Sums of all blocks of inputs but the last wait in the output, before anything goes past the
// caches.
TEST(Int8AcrossKernels, SameBitsWhereverTheOutputOfSeveralBlocksLies) {
  std::vector<float> expected;
  for (const Kernel& kernel : kernels()) {
    if (fuses(kernel.isa)) expect_same_wherever_the_output_lies(kernel, 500, 2'200, expected);
  }
}

}  // namespace
}  // namespace block_attention
