#include "core/random.hpp"

#include <set>

#include "support.hpp"

namespace block_attention::test {
namespace {

TEST(RandomTest, MixIsTheOutputFunctionOfSplitmix64) {
  // The published test vector: seed 1234567.
  const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                               4593380528125082431u, 16408922859458223821u};
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(mix64(1234567 + (i + 1) * kGoldenGamma), expected[i]);
}

TEST(RandomTest, ValuesNeverChange) {
  // A change here changes what every seed draws: it has to be said in the changelog.
  EXPECT_EQ(random_u64(0, 0), 0xa706dd2f4d197e6fu);
  EXPECT_EQ(random_u64(42, 7), 0xbc16a3d4cc48678eu);
  EXPECT_EQ(random_normal(1, 2), -0x1.adb6040000000p-2f);
}

TEST(RandomTest, NeighbouringSeedsAndIndicesShareNothing) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    for (uint64_t index = 0; index < 100; ++index) seen.insert(random_u64(seed, index));
  }
  EXPECT_EQ(seen.size(), 10000u);
}

TEST(RandomTest, UniformFillsTheUnitIntervalEvenly) {
  constexpr int kBins = 64;
  constexpr int kDraws = 64000;
  for (uint64_t seed : {0u, 1u, 99u}) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    // By index, and by seed at one index: a fresh seed for each request is how it is often used.
    std::vector<int> by_index(kBins, 0);
    std::vector<int> by_seed(kBins, 0);
    for (uint64_t i = 0; i < kDraws; ++i) {
      const double u = random_uniform(seed, i);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      ++by_index[static_cast<size_t>(u * kBins)];
      ++by_seed[static_cast<size_t>(random_uniform(i, seed) * kBins)];
    }
    for (const std::vector<int>& bins : {by_index, by_seed}) {
      double chi_square = 0;
      for (int count : bins) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
      EXPECT_LT(chi_square, 63 + 5 * std::sqrt(2.0 * 63));
      EXPECT_GT(chi_square, 63 - 5 * std::sqrt(2.0 * 63));
    }
  }
}

TEST(RandomTest, NormalHasMeanZeroAndDeviationOne) {
  constexpr int kDraws = 200000;
  double sum = 0;
  double squares = 0;
  double lag = 0;
  float before = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const float x = random_normal(3, i);
    ASSERT_LE(std::abs(x), 3.4642f);
    sum += x;
    squares += double{x} * x;
    lag += double{x} * before;
    before = x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.012);
  EXPECT_NEAR(squares / kDraws, 1, 0.012);
  EXPECT_NEAR(lag / kDraws, 0, 0.012);
}

TEST(RandomTest, FillIsTheSameHoweverItIsCut) {
  constexpr size_t kCount = 1000;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const size_t size = dtype_size(dtype);
    std::vector<char> whole(kCount * size + 1, 'x');
    fill_random(dtype, 0.02f, 5, 1000000, kCount, whole.data());
    EXPECT_EQ(whole.back(), 'x') << "wrote behind the end";
    std::vector<char> parts(kCount * size);
    // Back to front, in runs of 1, 2, 3, ...
    size_t end = kCount;
    for (size_t run = 1; end > 0; ++run) {
      const size_t begin = end > run ? end - run : 0;
      fill_random(dtype, 0.02f, 5, 1000000 + begin, end - begin, parts.data() + begin * size);
      end = begin;
    }
    EXPECT_EQ(std::memcmp(whole.data(), parts.data(), parts.size()), 0) << dtype_name(dtype);
    for (size_t i = 0; i < kCount; ++i) {
      const float exact = random_normal(5, 1000000 + i) * 0.02f;
      const float tolerance = dtype == DType::kF32 ? 0 : std::abs(exact) / 256 + 1e-7f;
      ASSERT_NEAR(load_as_f32(whole.data(), dtype, i), exact, tolerance);
    }
  }
}

}  // namespace
}  // namespace block_attention::test
