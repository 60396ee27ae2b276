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
#include <vector>

#include "cpu/aligned_floats.hpp"
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
  KeptActivations first(of.rows * groups);
  KeptActivations second(of.rows * groups);
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
  std::vector<Meaning> meanings(first.scales.size());
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

// An output that leaves the caches goes past them where it begins at cache lines.
TEST(Int8AcrossKernels, SameBitsWhereverTheOutputLies) {
  constexpr int64_t kRows = 800;
  constexpr int64_t kInputs = 90;
  constexpr int64_t kOutputs = 1'100;
  constexpr int64_t kStride = 1'104;
  std::mt19937 rng(kSeed);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {kOutputs}, kInputs, true);
  std::vector<float> x = random_values(rng, kRows * kInputs);
  ThreadPool pool(2);
  AlignedFloats memory;
  memory.reserve(kRows * kStride + 1);
  for (const Kernel& kernel : kernels()) {
    const auto weight = pack_int8(pool, kernel.isa, kernel.dot, source.parts, source.bias);
    Int8LinearOp op(pool, kernel.isa, kernel.dot);
    std::vector<float> outs[2];
    for (const int64_t first : {0, 1}) {
      std::fill_n(memory.data(), kRows * kStride + 1, test::kPoison);
      const Tensor out = {memory.data() + first, DType::kF32, kRows, kOutputs, kStride};
      op.run(view(x, kRows, kInputs, kInputs), *weight, out);
      outs[first].assign(memory.data() + first, memory.data() + first + kRows * kStride);
    }
    EXPECT_EQ(std::memcmp(outs[0].data(), outs[1].data(), outs[0].size() * sizeof(float)), 0)
        << kernel_name(kernel);
    EXPECT_TRUE(std::isnan(outs[0][kOutputs]));
  }
}

}  // namespace
}  // namespace block_attention
