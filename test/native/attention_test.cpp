#include "cpu/attention.hpp"

#include <iostream>

#include "allocations.hpp"
#include "attention_errors.hpp"
#include "attention_fixture.hpp"
#include "core/error.hpp"

namespace block_attention::test {
namespace {

using Mode = AttentionTasks::Mode;

class AttentionTest : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, ::testing::ValuesIn(supported_isas()), IsaName());

// `tiled`: with pages and heads that tiles of bf16 multiply, where the CPU has them.
AttentionCase random_case(Random& random, bool tiled = false) {
  const std::vector<int32_t> head_dims = {8, 16, 24, 64, 80, 128, 256};
  const std::vector<int32_t> tiled_head_dims = {32, 64, 96, 128, 160, 224, 256};
  const std::vector<int32_t> groups = {1, 2, 3, 4, 7, 8, 16};
  const std::vector<int32_t> windows = {0, 0, 1, 16, 64, 300};
  const std::vector<int32_t> lengths = {1, 15, 16, 17, 255, 256, 257, 300, 513, 1000};
  const auto pick = [&](const std::vector<int32_t>& from) {
    return from[static_cast<size_t>(random.between(0, static_cast<int64_t>(from.size()) - 1))];
  };
  AttentionCase c;
  const int32_t head_dim = pick(tiled ? tiled_head_dims : head_dims);
  const int32_t rotary_dim = random.chance(0.7) ? head_dim : std::max(2, head_dim / 4 / 2 * 2);
  // One draw to a statement: the order of arguments is the compiler's.
  const auto kv_heads = static_cast<int32_t>(random.between(1, 3));
  const int32_t group = pick(groups);
  const double attention_factor = random.chance(0.3) ? 1.2 : 1.0;
  c.config = attention_config(kv_heads, group, head_dim, rotary_dim, attention_factor);
  const std::vector<DType> kv_dtypes = {DType::kBF16, DType::kF32, DType::kI8};
  c.kv_dtype = tiled ? DType::kBF16 : kv_dtypes[static_cast<size_t>(random.between(0, 2))];
  c.window = pick(windows);
  CaseSizes sizes;
  const int64_t blocks = random.between(0, 5);
  for (int64_t i = 0; i < blocks; ++i) sizes.blocks.push_back(pick(lengths));
  sizes.sequences = static_cast<int32_t>(random.between(1, 4));
  sizes.max_earlier = random.chance(0.2) ? 40 : 4;
  if (sizes.max_earlier == 40) {
    for (int32_t& length : sizes.blocks) length = std::min(length, 40);
  }
  sizes.rows = {1, 1, 2, 5, 17, 50};
  sizes.local_begins = {0, 0, 5, 16, 250, 300};
  sizes.q_scale = random.chance(0.3) ? 12.0f : 1.0f;
  fill_case(random, sizes, c);
  return c;
}

// Against float64. The rule: on average at most twice the error of the plain formula in float32, or
// of `rounded` operands in bf16 (keys at global positions, one pass), plus a floor of 2 units of
// float32 rounding of the largest value, which is where single roundings lie. The largest error of
// a few rows is a matter of luck, since two keys of nearly equal large scores make any rounding
// visible: it may be four times the plain formula's.
void expect_accurate(const AttentionCase& c, const AttentionSetup& setup,
                     const std::vector<float>& out, bool rounded, Random& random) {
  constexpr double kUnit = 0x1p-24;
  const auto plain = [&](size_t s, int32_t row, int32_t head) {
    return rounded ? plain_attention<float, true>(c, setup, s, row, head)
                   : plain_attention<float>(c, setup, s, row, head);
  };
  const AttentionErrors errors = attention_errors(c, setup, out, 16, random, plain);
  const double n = static_cast<double>(errors.count);
  EXPECT_LE(errors.ours.sum / n, 2 * errors.plain.sum / n + 2 * kUnit * errors.largest)
      << "on average";
  EXPECT_LE(errors.ours.worst, 4 * errors.plain.worst + 8 * kUnit * errors.largest);
}

TEST_P(AttentionTest, EqualsThePlainFormulaInGlobalPositions) {
  const int cases = GetParam() == Isa::kPortable ? 12 : 60;
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(cases); ++seed) {
    Random random(seed);
    const AttentionCase c = random_case(random, seed % 3 == 0);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup setup(c, GetParam(), static_cast<int>(random.between(1, 3)), seed);
    const Mode mode = static_cast<Mode>(random.between(0, 2));
    const std::vector<float> out = setup.step(setup.whole(), mode);
    const bool rounded = has_bf16_dots(GetParam()) && c.kv_dtype == DType::kBF16;
    expect_accurate(c, setup, out, rounded, random);
    if (HasFailure()) return;
  }
}

// However a case is run, its rows have the bits of the first run.
TEST_P(AttentionTest, HasTheSameBitsInEverySchedule) {
  const int cases = GetParam() == Isa::kPortable ? 6 : 25;
  for (uint64_t seed = 101; seed < 101 + static_cast<uint64_t>(cases); ++seed) {
    Random random(seed);
    const AttentionCase c = random_case(random, seed % 3 == 0);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup first(c, GetParam(), 1, seed);
    const std::vector<float> expected = first.step(first.whole(), Mode::kFold);

    for (Mode mode : {Mode::kAuto, Mode::kFold, Mode::kSplit}) {
      const auto threads = static_cast<int>(random.between(1, 4));
      AttentionSetup other(c, GetParam(), threads, random.bits());
      ASSERT_TRUE(same_bits(other.step(other.whole(), mode), expected))
          << "threads " << threads << ", mode " << static_cast<int>(mode) << ", other pages";
    }

    AttentionSetup alone(c, GetParam(), 2, random.bits());
    std::vector<float> joined;
    for (const auto& chunk : alone.whole()) {
      const std::vector<float> rows = alone.step({chunk});
      joined.insert(joined.end(), rows.begin(), rows.end());
    }
    ASSERT_TRUE(same_bits(joined, expected)) << "each sequence alone";

    AttentionSetup chunked(c, GetParam(), 2, random.bits());
    joined = run_in_chunks(
        c, random, [](int32_t) { return 1; },
        [&](const std::vector<CaseChunk>& chunks) {
          return chunked.step(chunks, static_cast<Mode>(random.between(0, 2)));
        });
    ASSERT_TRUE(same_bits(joined, expected)) << "in chunks";
  }
}

// Not promised to users, but free: sums do not depend on the vector width.
TEST(AttentionIsaTest, Avx2AndAvx512GiveTheSameBits) {
  if (!has_avx512(supported_isas().back())) GTEST_SKIP() << "this CPU has no AVX-512";
  for (uint64_t seed = 201; seed < 221; ++seed) {
    Random random(seed);
    const AttentionCase c = random_case(random);
    SCOPED_TRACE(testing::Message() << "seed " << seed << ": " << describe(c));
    AttentionSetup narrow(c, Isa::kAvx2, 2, seed);
    AttentionSetup wide(c, Isa::kAvx512, 2, seed);
    ASSERT_TRUE(same_bits(narrow.step(narrow.whole()), wide.step(wide.whole())));
  }
}

constexpr DType kFloatPages[] = {DType::kBF16, DType::kF32};

TEST_P(AttentionTest, SharpAndFlatScoresStayFinite) {
  for (const DType pages : kFloatPages) {
    for (float q_scale : {0.0f, 1e-20f, 1000.0f, 1e6f}) {
      SCOPED_TRACE(testing::Message() << dtype_name(pages) << ", q scale " << q_scale);
      Random random(7);
      AttentionCase c;
      c.config = attention_config(1, 4, 64, 64);
      c.kv_dtype = pages;
      CaseSizes sizes;
      sizes.blocks = {300, 600};
      sizes.rows = {20};
      sizes.q_scale = q_scale;
      fill_case(random, sizes, c);
      AttentionSetup setup(c, GetParam(), 2, 7);
      for (float x : setup.step(setup.whole())) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

// A NaN in q must not vanish behind the masks.
TEST_P(AttentionTest, ANanQueryGivesANanRowAndTouchesNoOther) {
  for (const DType pages : kFloatPages) {
    SCOPED_TRACE(dtype_name(pages));
    Random random(8);
    AttentionCase c;
    c.config = attention_config(1, 2, 64, 64);
    c.kv_dtype = pages;
    CaseSizes sizes;
    sizes.blocks = {300};
    sizes.rows = {20};
    fill_case(random, sizes, c);
    AttentionSetup clean(c, GetParam(), 1, 8);
    const std::vector<float> expected = clean.step(clean.whole());
    CaseSequence& sequence = c.sequences[0];
    const int32_t row = 7;
    sequence.own.qkv[static_cast<size_t>(sequence.local_begin + row) * c.qkv_cols() + 3] = kNan;
    AttentionSetup setup(c, GetParam(), 1, 8);
    const std::vector<float> out = setup.step(setup.whole());
    for (int32_t r = 0; r < sequence.rows; ++r) {
      for (int32_t i = 0; i < c.cols(); ++i) {
        const auto at = static_cast<size_t>(r * c.cols() + i);
        if (r == row && i < 64) {
          ASSERT_TRUE(std::isnan(out[at])) << i;
        } else {
          ASSERT_EQ(out[at], expected[at]) << r << " " << i;
        }
      }
    }
  }
}

TEST(AttentionAllocationTest, NothingIsAllocatedAfterWarmUp) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  Random random(9);
  AttentionCase c;
  c.config = attention_config(3, 3, 64, 64);
  CaseSizes sizes;
  sizes.blocks = {300, 600, 100};
  sizes.sequences = 3;
  sizes.rows = {1, 2};
  fill_case(random, sizes, c);
  ThreadPool pool(2);
  CpuAttention attention(pool, default_isa(), c.config);
  CpuKvStorage kv({1, 3, 64, DType::kBF16}, 100);
  std::vector<PageId> pages(60);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<PageId>(i);
  const StepSegment segments[] = {{pages, 900, 1000},
                                  {std::span<const PageId>(pages).subspan(57), 40, 30}};
  const StepSequence sequence = {0, 10, 30, segments};
  const std::vector<int32_t> tokens(10);
  const Step step = {tokens, {&sequence, 1}};
  std::vector<float> qkv(10 * 15 * 64, 0.5f);
  std::vector<float> out(10 * 9 * 64);
  const Tensor view = {qkv.data(), DType::kF32, 10, 15 * 64, 15 * 64};
  AttentionTasks plan;
  const auto run = [&] {
    for (Mode mode : {Mode::kAuto, Mode::kSplit, Mode::kFold}) {
      attention.plan(step, plan, mode);
      attention.rope_store(view, step, {}, 0, kv);
      attention.run(view.columns(0, 9 * 64), plan, 0, kv, 0,
                    {out.data(), DType::kF32, 10, 9 * 64, 9 * 64});
    }
  };
  run();
  const uint64_t before = allocation_count();
  run();
  EXPECT_EQ(allocation_count(), before);
}

TEST(AttentionConfigTest, RefusesShapesThatTheKernelsDoNotTake) {
  ThreadPool pool(1);
  const auto code = [&](const AttentionConfig& config) {
    try {
      CpuAttention attention(pool, Isa::kPortable, config);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code(attention_config(1, 1, 12, 4)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, 1, 264, 64)), ErrorCode::kUnsupported);
  EXPECT_EQ(code(attention_config(1, 1, 64, 128)), ErrorCode::kUnsupported);
  AttentionConfig uneven = attention_config(2, 1, 64, 64);
  uneven.num_heads = 3;
  EXPECT_EQ(code(uneven), ErrorCode::kUnsupported);
}

}  // namespace
}  // namespace block_attention::test
