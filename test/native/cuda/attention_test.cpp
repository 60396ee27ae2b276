#include "cuda/attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>

#include "attention_errors.hpp"
#include "attention_setup.hpp"
#include "core/error.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::attention_config;
using block_attention::test::attention_errors;
using block_attention::test::AttentionErrors;
using block_attention::test::CaseSizes;
using block_attention::test::describe;
using block_attention::test::fill_case;
using block_attention::test::kNan;
using block_attention::test::plain_attention;
using block_attention::test::Random;
using block_attention::test::run_in_chunks;
using block_attention::test::same_bits;

class CudaAttentionTest : public DeviceTest {
 protected:
  std::vector<AttentionKernel> kernels(int32_t head_dim) {
    std::vector<AttentionKernel> found;
    for (const AttentionKernel kernel :
         {AttentionKernel::kWgmma, AttentionKernel::kMma, AttentionKernel::kPlain}) {
      if (has_attention_kernel(device().properties(), kernel, head_dim)) found.push_back(kernel);
    }
    return found;
  }
  std::vector<AttentionKernel> tensor_core_kernels(int32_t head_dim) {
    std::vector<AttentionKernel> found = kernels(head_dim);
    found.erase(std::remove(found.begin(), found.end(), AttentionKernel::kPlain), found.end());
    return found;
  }
};

int32_t pick(Random& random, const std::vector<int32_t>& from) {
  return from[static_cast<size_t>(random.between(0, static_cast<int64_t>(from.size()) - 1))];
}

struct Shape {
  int32_t head_dim = 64;
  int32_t group = 4;
};

AttentionCase random_case(Random& random, const Shape& shape) {
  AttentionCase c;
  const int32_t rotary_dim =
      random.chance(0.7) ? shape.head_dim : std::max(2, shape.head_dim / 4 / 2 * 2);
  // One draw to a statement: the order of arguments is the compiler's.
  const auto kv_heads = static_cast<int32_t>(random.between(1, 2));
  const double attention_factor = random.chance(0.3) ? 1.2 : 1.0;
  c.config = attention_config(kv_heads, shape.group, shape.head_dim, rotary_dim, attention_factor);
  c.kv_dtype = random.chance(0.5) ? DType::kBF16 : DType::kF16;
  c.window = pick(random, {0, 0, 0, 1, 16, 64, 600});
  CaseSizes sizes;
  const int64_t blocks = random.between(0, 3);
  for (int64_t i = 0; i < blocks; ++i) {
    sizes.blocks.push_back(pick(random, {1, 15, 16, 17, 63, 64, 65, 100, 200, kCutKeys + 1}));
  }
  sizes.sequences = static_cast<int32_t>(random.between(1, 3));
  sizes.max_earlier = 3;
  // Several spans.
  if (random.chance(0.25)) {
    sizes.max_earlier = 3 * kSpanCuts;
    sizes.blocks = {pick(random, {1, 15, 16, 17, 64}), pick(random, {5, 40})};
  }
  sizes.rows = {1, 1, 2, 5, 17, 40};
  sizes.local_begins = {0, 0, 5, 16, 50, kCutKeys - 3};
  sizes.q_scale = random.chance(0.3) ? 8.0f : 1.0f;
  fill_case(random, sizes, c);
  round_tokens(c);
  return c;
}

// Errors relative to a case's largest value, of each type: of many cases, since of few rows either
// implementation may have the luck.
class AverageErrors {
 public:
  void add(DType dtype, const AttentionErrors& errors) {
    Sums& sums = dtype == DType::kBF16 ? bf16_ : f16_;
    sums.ours += errors.ours.sum / errors.largest;
    sums.plain += errors.plain.sum / errors.largest;
    sums.allowed += static_cast<double>(errors.count) * 0x1p-22;
  }
  // At most so many times those of a plain implementation, with next to nothing added.
  void expect_accurate(double times = 2) const {
    for (const Sums& sums : {bf16_, f16_}) EXPECT_LE(sums.ours, times * sums.plain + sums.allowed);
  }

 private:
  struct Sums {
    double ours = 0;
    double plain = 0;
    double allowed = 0;
  };
  Sums bf16_;
  Sums f16_;
};

// Against float64. The rule: at most twice the error of a plain implementation that rounds the
// rotated query, the weights and the result, plus two units of the type's rounding of the largest
// value.
void expect_accurate(const AttentionCase& c, AttentionSetup& setup, const std::vector<float>& out,
                     Random& random, AverageErrors& average) {
  setup.read_pages();
  const auto plain = [&](size_t s, int32_t row, int32_t head) {
    return plain_attention<double, true>(c, setup, s, row, head);
  };
  const AttentionErrors errors = attention_errors(c, setup, out, 6, random, plain);
  EXPECT_LE(errors.ours.worst,
            2 * errors.plain.worst + 2 * unit_in_last_place(errors.largest, c.kv_dtype))
      << "plain " << errors.plain.worst;
  average.add(c.kv_dtype, errors);
}

std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes;
  for (int32_t head_dim = 16; head_dim <= 128; head_dim += 16) {
    shapes.push_back({head_dim, 1 + head_dim / 16});
  }
  for (int32_t group = 1; group <= 16; ++group) shapes.push_back({group % 2 == 0 ? 64 : 16, group});
  shapes.push_back({128, 1});
  shapes.push_back({128, 4});
  shapes.push_back({128, 16});
  shapes.push_back({256, 1});
  shapes.push_back({256, 4});
  shapes.push_back({256, 16});
  shapes.push_back({32, kMaxGroup});
  return shapes;
}

// A number from the environment.
size_t number_of(const char* name, size_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST_F(CudaAttentionTest, EqualsThePlainFormulaInGlobalPositions) {
  AverageErrors average;
  const std::vector<Shape> shapes = all_shapes();
  // One for each shape; the long form, for a card, is 10000 (scripts/pack/run.sh).
  const size_t first = number_of("BLOCK_ATTENTION_FIRST_PLAN", 0);
  const size_t plans = number_of("BLOCK_ATTENTION_RANDOM_PLANS", shapes.size());
  for (size_t plan = first; plan < first + plans; ++plan) {
    const uint64_t seed = 301 + plan;
    Random random(seed);
    const Shape& shape = shapes[plan % shapes.size()];
    const AttentionCase c = random_case(random, shape);
    const std::vector<AttentionKernel> kernels = tensor_core_kernels(shape.head_dim);
    const AttentionKernel kernel = kernels[plan / 2 % kernels.size()];
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup setup(device(), c, seed, kernel);
    const Mode mode = static_cast<Mode>(random.between(0, 2));
    expect_accurate(c, setup, setup.whole(mode), random, average);
    if (HasFailure()) return;
  }
  // Of so many cases luck is little: 1.12 times (bf16) and 1.08 (f16) over 180 plans.
  average.expect_accurate(1.3);
}

TEST_F(CudaAttentionTest, ThePlainKernelDoesToo) {
  AverageErrors average;
  uint64_t seed = 400;
  for (const Shape& shape : {Shape{16, 1}, Shape{64, 3}, Shape{112, 2}, Shape{256, 2}}) {
    Random random(++seed);
    const AttentionCase c = random_case(random, shape);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup setup(device(), c, seed, AttentionKernel::kPlain);
    const Mode mode = static_cast<Mode>(random.between(0, 2));
    expect_accurate(c, setup, setup.whole(mode), random, average);
    if (HasFailure()) return;
  }
  average.expect_accurate();
}

// However a case is run, its rows have the bits of the first run.
void expect_same_bits(Device& device, const AttentionCase& c, AttentionKernel kernel,
                      Random& random) {
  AttentionSetup first(device, c, 1, kernel);
  const std::vector<float> expected = first.whole(Mode::kFold);
  ASSERT_TRUE(same_bits(first.whole(Mode::kSplit), expected)) << "split, same pages";

  AttentionSetup other(device, c, random.bits(), kernel);
  ASSERT_TRUE(same_bits(other.whole(Mode::kSplit), expected)) << "split, other pages";
  ASSERT_TRUE(same_bits(other.whole(Mode::kAuto), expected)) << "as the plan likes";

  AttentionSetup alone(device, c, random.bits(), kernel);
  std::vector<float> joined;
  for (const CaseChunk& chunk : whole_case(c)) {
    const std::vector<float> rows = alone.step({chunk}, static_cast<Mode>(random.between(0, 2)));
    joined.insert(joined.end(), rows.begin(), rows.end());
  }
  ASSERT_TRUE(same_bits(joined, expected)) << "each sequence alone";

  AttentionSetup chunked(device, c, random.bits(), kernel);
  joined = run_in_chunks(
      c, random, [](int32_t left) { return (left + 2) / 3; },
      [&](const std::vector<CaseChunk>& chunks) {
        return chunked.step(chunks, static_cast<Mode>(random.between(0, 2)));
      });
  ASSERT_TRUE(same_bits(joined, expected)) << "in chunks";
}

TEST_F(CudaAttentionTest, HasTheSameBitsInEverySchedule) {
  uint64_t seed = 500;
  for (const Shape& shape : {Shape{64, 1}, Shape{64, 4}, Shape{48, 3}, Shape{128, 2}, Shape{80, 8},
                             Shape{256, 2}, Shape{64, 16}}) {
    Random random(++seed);
    const AttentionCase c = random_case(random, shape);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    for (const AttentionKernel kernel : tensor_core_kernels(shape.head_dim)) {
      expect_same_bits(device(), c, kernel, random);
    }
    if (HasFailure()) return;
  }
}

// On tensor cores by wgmma and by mma.sync.
TEST_F(CudaAttentionTest, HasTheSameBitsByEitherInstruction) {
  if (!has_attention_kernel(device().properties(), AttentionKernel::kWgmma, 64))
    GTEST_SKIP() << device().properties().name << " has no wgmma";
  uint64_t seed = 700;
  for (const Shape& shape : {Shape{64, 1}, Shape{64, 4}, Shape{128, 4}, Shape{80, 3}, Shape{96, 16},
                             Shape{128, 8}, Shape{128, 5}}) {
    Random random(++seed);
    AttentionCase c = random_case(random, shape);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup by_wgmma(device(), c, seed, AttentionKernel::kWgmma);
    AttentionSetup by_mma(device(), c, seed, AttentionKernel::kMma);
    const Mode mode = static_cast<Mode>(random.between(0, 2));
    ASSERT_TRUE(same_bits(by_wgmma.whole(mode), by_mma.whole(mode)));
  }
}

TEST_F(CudaAttentionTest, ThePlainKernelHasTheSameBitsInEverySchedule) {
  uint64_t seed = 600;
  for (const Shape& shape : {Shape{32, 3}, Shape{80, 2}}) {
    Random random(++seed);
    const AttentionCase c = random_case(random, shape);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    expect_same_bits(device(), c, AttentionKernel::kPlain, random);
    if (HasFailure()) return;
  }
}

// Several cuts per segment and several segments: what folds and merges differ in.
TEST_F(CudaAttentionTest, FoldsCutsAsTheMergeDoes) {
  AverageErrors average;
  for (const AttentionKernel kernel : kernels(64)) {
    Random random(21);
    AttentionCase c;
    c.config = attention_config(1, 2, 64, 64);
    c.kv_dtype = DType::kBF16;
    CaseSizes sizes;
    sizes.blocks = {2 * kCutKeys + 40, 70};
    sizes.max_earlier = 4;
    sizes.sequences = 2;
    sizes.rows = {1, 3};
    sizes.q_scale = 4;
    fill_case(random, sizes, c);
    round_tokens(c);
    AttentionSetup setup(device(), c, 21, kernel);
    const std::vector<float> folded = setup.whole(Mode::kFold);
    ASSERT_TRUE(same_bits(setup.whole(Mode::kSplit), folded));
    ASSERT_FALSE(setup.plan().tasks().splits().empty());
    expect_accurate(c, setup, folded, random, average);
  }
  average.expect_accurate();
}

// Spans end within a tile, and in other tiles, alone and beside sequences that use the same blocks.
TEST_F(CudaAttentionTest, JoinsSpansAsTheMergeDoes) {
  AverageErrors average;
  for (const int32_t window : {0, 100}) {
    std::vector<float> expected;
    for (const AttentionKernel kernel : kernels(64)) {
      Random random(24);
      AttentionCase c;
      c.config = attention_config(2, 3, 64, 64);
      c.kv_dtype = DType::kBF16;
      c.window = window;
      CaseSizes sizes;
      sizes.blocks = {20, 33, 16};
      sizes.max_earlier = 4 * kSpanCuts;
      sizes.sequences = 3;
      sizes.rows = {2, 30};
      fill_case(random, sizes, c);
      round_tokens(c);
      AttentionSetup setup(device(), c, 24, kernel);
      const std::vector<float> folded = setup.whole(Mode::kFold);
      ASSERT_GT(setup.plan().tiles().partials(), 0);
      ASSERT_TRUE(same_bits(setup.whole(Mode::kSplit), folded));
      const auto& tiles = setup.plan().tiles().many();
      ASSERT_TRUE(std::any_of(tiles.begin(), tiles.end(), [](const AttentionTile& tile) {
        return tile.results == 0 && tile.entry_cuts == kSpanCuts;
      }));
      expect_accurate(c, setup, folded, random, average);
      expect_same_bits(device(), c, kernel, random);
      if (HasFailure()) return;
      if (kernel == AttentionKernel::kPlain) continue;
      if (expected.empty()) expected = folded;
      ASSERT_TRUE(same_bits(folded, expected));
    }
  }
  average.expect_accurate();
}

// A block that several sequences use at other offsets is read once, by one tile with rows of all.
TEST_F(CudaAttentionTest, SequencesShareABlock) {
  AverageErrors average;
  Random random(22);
  AttentionCase c;
  c.config = attention_config(2, 2, 64, 64);
  c.kv_dtype = DType::kF16;
  CaseSizes sizes;
  sizes.blocks = {600};
  sizes.max_earlier = 2;
  sizes.sequences = 5;
  fill_case(random, sizes, c);
  round_tokens(c);
  AttentionSetup setup(device(), c, 22);
  const std::vector<float> out = setup.whole(Mode::kSplit);
  int32_t most = 0;
  for (const AttentionTasks::SplitTask& task : setup.plan().tasks().splits()) {
    most = std::max(most, task.members);
  }
  EXPECT_GE(most, 5);
  expect_accurate(c, setup, out, random, average);
  ASSERT_TRUE(same_bits(setup.whole(Mode::kFold), out));
  average.expect_accurate();
}

TEST_F(CudaAttentionTest, SharpAndFlatScoresStayFinite) {
  for (const AttentionKernel kernel : kernels(64)) {
    for (const float q_scale : {0.0f, 1e-20f, 1000.0f, 1e6f}) {
      SCOPED_TRACE(testing::Message() << "q scale " << q_scale);
      Random random(7);
      AttentionCase c;
      c.config = attention_config(1, 2, 64, 64);
      c.kv_dtype = DType::kBF16;
      CaseSizes sizes;
      sizes.blocks = {100};
      sizes.rows = {10};
      sizes.q_scale = q_scale;
      fill_case(random, sizes, c);
      round_tokens(c);
      AttentionSetup setup(device(), c, 7, kernel);
      for (float x : setup.whole(Mode::kFold)) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

// A NaN in q must not vanish behind the masks, and must not reach another row.
TEST_F(CudaAttentionTest, ANanQueryGivesANanRowAndTouchesNoOther) {
  for (const AttentionKernel kernel : kernels(64)) {
    Random random(8);
    AttentionCase c;
    c.config = attention_config(1, 2, 64, 64);
    c.kv_dtype = DType::kBF16;
    CaseSizes sizes;
    sizes.blocks = {100};
    sizes.rows = {20};
    fill_case(random, sizes, c);
    round_tokens(c);
    AttentionSetup clean(device(), c, 8, kernel);
    const std::vector<float> expected = clean.whole(Mode::kFold);
    CaseSequence& sequence = c.sequences[0];
    constexpr int32_t kRow = 7;
    sequence.own.qkv[static_cast<size_t>(sequence.local_begin + kRow) * c.qkv_cols() + 3] = kNan;
    AttentionSetup setup(device(), c, 8, kernel);
    const std::vector<float> out = setup.whole(Mode::kFold);
    for (int32_t row = 0; row < sequence.rows; ++row) {
      for (int32_t i = 0; i < c.cols(); ++i) {
        const auto at = static_cast<size_t>(row * c.cols() + i);
        if (row == kRow && i < 64) {
          ASSERT_TRUE(std::isnan(out[at])) << i;
        } else {
          ASSERT_EQ(out[at], expected[at]) << row << " " << i;
        }
      }
    }
  }
}

// Rows see other steps of keys than their neighbours in a tile: those that they do not see must
// leave them as they are, even where a value is NaN.
TEST_F(CudaAttentionTest, UnseenStepsChangeNothing) {
  for (const AttentionKernel kernel : kernels(64)) {
    Random random(9);
    AttentionCase c;
    c.config = attention_config(1, 1, 64, 64);
    c.kv_dtype = DType::kBF16;
    CaseSizes sizes;
    sizes.rows = {150};
    fill_case(random, sizes, c);
    CaseSequence& sequence = c.sequences[0];
    for (int32_t token = 128; token < 150; ++token) {
      for (int32_t dim = 0; dim < 64; ++dim) {
        sequence.own.qkv[static_cast<size_t>(token) * c.qkv_cols() + 2 * c.cols() + dim] = kNan;
      }
    }
    round_tokens(c);
    AttentionSetup setup(device(), c, 9, kernel);
    const std::vector<float> together = setup.whole(Mode::kFold);
    std::vector<float> apart;
    AttentionSetup other(device(), c, 10, kernel);
    for (int32_t row = 0; row < 128; row += 8) {
      const std::vector<float> rows = other.step({{0, row, 8}}, Mode::kFold);
      apart.insert(apart.end(), rows.begin(), rows.end());
    }
    const std::vector<float> seeing(together.begin(), together.begin() + 128 * c.cols());
    for (const float x : seeing) ASSERT_TRUE(std::isfinite(x));
    ASSERT_TRUE(same_bits(apart, seeing));
  }
}

// The same within a tile, and within the rows of a warpgroup: those before key 64 see nothing of
// the step that begins there.
TEST_F(CudaAttentionTest, UnseenStepsOfATileChangeNothing) {
  constexpr int32_t kBegin = 40;
  constexpr int32_t kRows = 64;
  for (const AttentionKernel kernel : kernels(64)) {
    Random random(12);
    AttentionCase c;
    c.config = attention_config(1, 1, 64, 64);
    c.kv_dtype = DType::kBF16;
    CaseSizes sizes;
    sizes.rows = {kBegin + kRows};
    fill_case(random, sizes, c);
    CaseSequence& sequence = c.sequences[0];
    for (int32_t dim = 0; dim < 64; ++dim) {
      sequence.own
          .qkv[static_cast<size_t>(kBegin + kRows - 1) * c.qkv_cols() + 2 * c.cols() + dim] = kNan;
    }
    round_tokens(c);
    AttentionSetup setup(device(), c, 12, kernel);
    AttentionSetup other(device(), c, 13, kernel);
    for (AttentionSetup* each : {&setup, &other}) each->step({{0, 0, kBegin}}, Mode::kFold);
    std::vector<float> together = setup.step({{0, kBegin, kRows}}, Mode::kFold);
    together.resize((64 - kBegin) * c.cols());
    for (const float x : together) ASSERT_TRUE(std::isfinite(x));
    ASSERT_TRUE(same_bits(other.step({{0, kBegin, 64 - kBegin}}, Mode::kFold), together));
  }
}

// The same of a cut: a tile joins it to all of its rows, a row alone never looks at it. Here the
// outputs of the rows are -0 by then: values so small that the weights of later keys leave nothing
// of them, and then -0.
TEST_F(CudaAttentionTest, UnseenCutsChangeNothing) {
  constexpr int32_t kBefore = kCutKeys - 8;
  for (const AttentionKernel kernel : kernels(64)) {
    Random random(10);
    AttentionCase c;
    c.config = attention_config(1, 1, 64, 2);
    c.kv_dtype = DType::kBF16;
    CaseSizes sizes;
    sizes.blocks = {20};
    sizes.max_earlier = 2;
    sizes.rows = {16};
    sizes.local_begins = {kBefore};
    fill_case(random, sizes, c);
    ASSERT_FALSE(c.sequences[0].earlier.empty());
    const auto set = [&](TokenRows& rows, int32_t token, float k, float v) {
      float* row = rows.qkv.data() + int64_t{token} * c.qkv_cols();
      std::fill(row, row + 2 * c.cols(), 0.0f);
      std::fill(row + 2 * c.cols(), row + 3 * c.cols(), v);
      row[5] = 10;
      row[c.cols() + 5] = k;
    };
    for (int32_t token = 0; token < 20; ++token) set(c.blocks[0], token, 0, -1e-30f);
    TokenRows& own = c.sequences[0].own;
    for (int32_t token = 0; token < own.tokens; ++token) {
      set(own, token, token < 64 ? 0.0f : 100.0f, token < 64 ? -1e-30f : -0.0f);
    }
    round_tokens(c);
    AttentionSetup setup(device(), c, 10, kernel);
    const std::vector<float> together = setup.whole(Mode::kFold);
    std::vector<float> apart;
    AttentionSetup other(device(), c, 11, kernel);
    for (int32_t row = 0; row < 16; ++row) {
      const std::vector<float> rows = other.step({{0, row, 1}}, Mode::kFold);
      apart.insert(apart.end(), rows.begin(), rows.end());
    }
    for (const float x : together) ASSERT_EQ(x, 0.0f);
    ASSERT_TRUE(same_bits(apart, together));
  }
}

TEST_F(CudaAttentionTest, NoRowsAreNoWork) {
  AttentionCase c;
  c.config = attention_config(1, 1, 64, 64);
  c.kv_dtype = DType::kBF16;
  AttentionSetup setup(device(), c, 1);
  EXPECT_TRUE(setup.whole().empty());
}

TEST_F(CudaAttentionTest, RefusesShapesThatTheKernelsDoNotTake) {
  StepArena arena(device());
  const auto code = [&](const AttentionConfig& config) {
    try {
      CudaAttention attention(device(), arena, config);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(attention_config(1, 1, 64, 64)), ErrorCode::kInternal);
  EXPECT_EQ(code(attention_config(1, 1, 24, 8)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, 1, 144, 64)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, 1, 272, 64)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, 1, 64, 128)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, kMaxGroup + 1, 64, 64)), ErrorCode::kUnsupported);
  AttentionConfig uneven = attention_config(2, 1, 64, 64);
  uneven.num_heads = 3;
  EXPECT_EQ(code(uneven), ErrorCode::kUnsupported);
}

TEST_F(CudaAttentionTest, TakesTheKernelThatTheEnvironmentNames) {
  DeviceProperties hopper = device().properties();
  hopper.compute_capability = 90;
  DeviceProperties ampere = hopper;
  ampere.compute_capability = 80;
  const char* set = std::getenv("BLOCK_ATTENTION_CUDA_ATTENTION");
  const std::string before = set == nullptr ? "" : set;
  const auto chosen = [](const DeviceProperties& properties, const char* name) {
    setenv("BLOCK_ATTENTION_CUDA_ATTENTION", name, 1);
    std::optional<AttentionKernel> kernel;
    try {
      kernel = chosen_attention_kernel(properties, 128);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    }
    unsetenv("BLOCK_ATTENTION_CUDA_ATTENTION");
    return kernel;
  };
  EXPECT_EQ(chosen(hopper, ""), AttentionKernel::kMma);
  EXPECT_EQ(chosen(ampere, "mma"), AttentionKernel::kMma);
  EXPECT_EQ(chosen(hopper, "wgmma"), AttentionKernel::kWgmma);
  EXPECT_EQ(chosen(ampere, "wgmma"), std::nullopt);
  EXPECT_EQ(chosen(hopper, "plain"), std::nullopt);
  EXPECT_EQ(chosen_attention_kernel(hopper, 128), AttentionKernel::kMma);
  if (!before.empty()) setenv("BLOCK_ATTENTION_CUDA_ATTENTION", before.c_str(), 1);
}

TEST_F(CudaAttentionTest, RefusesViewsThatDoNotFit) {
  StepArena arena(device());
  CudaAttention attention(device(), arena, attention_config(1, 2, 64, 64));
  const CudaKvStorage kv(device(), {1, 1, 64, DType::kBF16}, 1);
  const PageId page = 0;
  const StepSegment segment = {{&page, 1}, 3, 0};
  const StepSequence sequence = {0, 3, 0, {&segment, 1}};
  const std::vector<int32_t> tokens(3);
  CudaAttentionPlan plan;
  attention.plan({tokens, {&sequence, 1}}, plan);
  const DeviceTensor q(device(), DType::kBF16, 3, 128, 136);
  const DeviceTensor out(device(), DType::kBF16, 3, 128, 128);
  const auto refused = [&](const Tensor& from, const Tensor& to, int32_t layer = 0) {
    try {
      attention.run(from, plan, layer, kv, 0, to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_TRUE(refused(q.view().columns(0, 64), out.view()));
  EXPECT_TRUE(refused(q.view(), out.view().columns(0, 64)));
  EXPECT_TRUE(refused(q.view().row_range(0, 2), out.view()));
  EXPECT_TRUE(refused(q.view(), out.view().row_range(0, 2)));
  EXPECT_TRUE(refused(q.view(), out.view(), 1));
  EXPECT_TRUE(refused(q.view(), out.view(), -1));
  Tensor other = q.view();
  other.dtype = DType::kF16;
  EXPECT_TRUE(refused(other, out.view()));
  other = q.view();
  other.stride = 132;
  EXPECT_TRUE(refused(other, out.view()));
  const DeviceTensor qkv(device(), DType::kBF16, 3, 256, 256);
  EXPECT_THROW(attention.rope_store(qkv.view().row_range(0, 2), plan, {}, 0, kv), Error);
  EXPECT_THROW(attention.rope_store(qkv.view().columns(0, 128), plan, {}, 0, kv), Error);
  EXPECT_THROW(attention.rope_store(qkv.view(), plan, {}, 1, kv), Error);
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
