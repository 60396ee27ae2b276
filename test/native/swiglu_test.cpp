#include "cpu/swiglu.hpp"

#include "support.hpp"
#include "swiglu_reference.hpp"

namespace block_attention::test {
namespace {

class SwigluTest : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, SwigluTest, ::testing::ValuesIn(supported_isas()), IsaName());

TEST_P(SwigluTest, IsWithinAFewUnitsInTheLastPlaceForEveryLength) {
  const uint64_t seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int64_t n : {0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 64, 100, 1001}) {
    const std::vector<float> gate = random.normals(static_cast<size_t>(n), 6);
    const std::vector<float> up = random.normals(static_cast<size_t>(n), 2);
    std::vector<float> out = poisoned(static_cast<size_t>(n) + 1);
    swiglu_kernels(GetParam()).swiglu(gate.data(), up.data(), n, out.data());
    for (size_t i = 0; i < gate.size(); ++i) {
      ASSERT_LT(ulps(out[i], swiglu_reference(gate[i], up[i])), 4)
          << "n " << n << " gate " << gate[i];
    }
    ASSERT_TRUE(std::isnan(out.back())) << "wrote behind the row";
  }
}

TEST_P(SwigluTest, NeitherOverflowsNorLosesSignAtTheEnds) {
  const std::vector<float> gate = {-3e38f, -1000,  -200, -104.5f, -88, -50, -0.0f,
                                   0.0f,   1e-30f, 50,   88,      89,  200, 3e38f};
  const std::vector<float> up(gate.size(), 1);
  std::vector<float> out = poisoned(gate.size());
  const int64_t n = static_cast<int64_t>(gate.size());
  swiglu_kernels(GetParam()).swiglu(gate.data(), up.data(), n, out.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    // Where exp(gate) is subnormal the result is as good as zero.
    const double expected = swiglu_reference(gate[i], 1);
    EXPECT_LE(std::abs(out[i] - expected), 1e-6 * std::abs(expected) + 1e-35) << gate[i];
    EXPECT_TRUE(std::isfinite(out[i])) << gate[i];
  }
}

TEST_P(SwigluTest, PassesNotANumberOn) {
  const std::vector<float> gate = {kNan, 1, 2, kInf};
  const std::vector<float> up = {1, kNan, 2, 2};
  std::vector<float> out(4, 0);
  swiglu_kernels(GetParam()).swiglu(gate.data(), up.data(), 4, out.data());
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_TRUE(std::isnan(out[1]));
  EXPECT_EQ(out[3], kInf);
}

TEST_P(SwigluTest, AnElementHasTheSameBitsWhereverTheRowEnds) {
  Random random(5);
  const std::vector<float> gate = random.normals(67, 4);
  const std::vector<float> up = random.normals(67);
  std::vector<float> whole = poisoned(67);
  swiglu_kernels(GetParam()).swiglu(gate.data(), up.data(), 67, whole.data());
  for (size_t n = 1; n < 67; ++n) {
    std::vector<float> part = poisoned(n);
    const int64_t count = static_cast<int64_t>(n);
    swiglu_kernels(GetParam()).swiglu(gate.data(), up.data(), count, part.data());
    ASSERT_TRUE(same_bits(part, {whole.begin(), whole.begin() + count})) << n;
  }
}

TEST_P(SwigluTest, MayWriteOverItsInputs) {
  Random random(6);
  const std::vector<float> gate = random.normals(45, 3);
  const std::vector<float> up = random.normals(45);
  std::vector<float> expected = poisoned(45);
  const auto swiglu = swiglu_kernels(GetParam()).swiglu;
  swiglu(gate.data(), up.data(), 45, expected.data());
  std::vector<float> over_gate = gate;
  swiglu(over_gate.data(), up.data(), 45, over_gate.data());
  EXPECT_TRUE(same_bits(over_gate, expected));
  std::vector<float> over_up = up;
  swiglu(gate.data(), over_up.data(), 45, over_up.data());
  EXPECT_TRUE(same_bits(over_up, expected));
}

}  // namespace
}  // namespace block_attention::test
