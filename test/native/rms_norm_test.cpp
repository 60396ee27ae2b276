#include "cpu/rms_norm.hpp"

#include "rms_norm_reference.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

class RmsNormTest : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, RmsNormTest, ::testing::ValuesIn(supported_isas()), IsaName());

constexpr int64_t kLengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 576, 1000, 4096, 4099};

TEST_P(RmsNormTest, IsAsPreciseAsAPlainImplementation) {
  const uint64_t seed = 51;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int64_t n : kLengths) {
    for (float scale : {1e-6f, 1.0f, 3000.0f}) {
      const size_t size = static_cast<size_t>(n);
      const std::vector<float> x = random.normals(size, scale);
      const std::vector<float> weight = random.normals(size);
      const float eps = 1e-5f;
      std::vector<float> out = poisoned(size + 1);
      rms_norm_kernels(GetParam()).rms_norm(x.data(), weight.data(), eps, n, out.data());
      const std::vector<double> expected = rms_norm_reference(x, weight, eps);
      const double allowed = 2 * rms_norm_plain_error(x, weight, eps, expected) + 4;
      for (size_t i = 0; i < size; ++i) ASSERT_LE(ulps(out[i], expected[i]), allowed) << n;
      ASSERT_TRUE(std::isnan(out[size])) << "wrote behind the row";
    }
  }
}

TEST_P(RmsNormTest, AddsTheResidualFirst) {
  Random random(52);
  for (int64_t n : kLengths) {
    const size_t size = static_cast<size_t>(n);
    const std::vector<float> before = random.normals(size);
    const std::vector<float> delta = random.normals(size, 0.1f);
    const std::vector<float> weight = random.normals(size);
    std::vector<float> sum(size);
    for (size_t i = 0; i < size; ++i) sum[i] = before[i] + delta[i];
    std::vector<float> expected = poisoned(size);
    const RmsNormKernels kernels = rms_norm_kernels(GetParam());
    kernels.rms_norm(sum.data(), weight.data(), 1e-6f, n, expected.data());

    std::vector<float> residual = before;
    residual.push_back(kNan);
    std::vector<float> out = poisoned(size + 1);
    kernels.add_rms_norm(residual.data(), delta.data(), weight.data(), 1e-6f, n, out.data());
    ASSERT_TRUE(std::isnan(residual.back()) && std::isnan(out.back())) << "wrote behind the row";
    residual.pop_back();
    out.pop_back();
    ASSERT_TRUE(same_bits(residual, sum)) << n;
    ASSERT_TRUE(same_bits(out, expected)) << n;
  }
}

TEST_P(RmsNormTest, MayWriteOverItsInput) {
  Random random(53);
  const std::vector<float> x = random.normals(83);
  const std::vector<float> weight = random.normals(83);
  std::vector<float> expected = poisoned(83);
  const auto rms_norm = rms_norm_kernels(GetParam()).rms_norm;
  rms_norm(x.data(), weight.data(), 1e-5f, 83, expected.data());
  std::vector<float> over = x;
  rms_norm(over.data(), weight.data(), 1e-5f, 83, over.data());
  EXPECT_TRUE(same_bits(over, expected));
}

TEST_P(RmsNormTest, ZeroStaysZeroAndEpsCounts) {
  const std::vector<float> weight(40, 2);
  std::vector<float> out = poisoned(40);
  const std::vector<float> zeros(40, 0);
  rms_norm_kernels(GetParam()).rms_norm(zeros.data(), weight.data(), 1e-5f, 40, out.data());
  EXPECT_TRUE(same_bits(out, zeros));
  const std::vector<float> ones(40, 1);
  rms_norm_kernels(GetParam()).rms_norm(ones.data(), weight.data(), 3, 40, out.data());
  for (float value : out) EXPECT_FLOAT_EQ(value, 1);
}

TEST(RmsNormBitsTest, VectorWidthDoesNotChangeTheBits) {
  if (!has_avx512(supported_isas().back())) GTEST_SKIP() << "this CPU has no AVX-512";
  Random random(54);
  for (int64_t n : kLengths) {
    const size_t size = static_cast<size_t>(n);
    const std::vector<float> x = random.normals(size);
    const std::vector<float> weight = random.normals(size);
    std::vector<float> avx2 = poisoned(size);
    std::vector<float> avx512 = poisoned(size);
    rms_norm_kernels(Isa::kAvx2).rms_norm(x.data(), weight.data(), 1e-5f, n, avx2.data());
    rms_norm_kernels(Isa::kAvx512).rms_norm(x.data(), weight.data(), 1e-5f, n, avx512.data());
    ASSERT_TRUE(same_bits(avx2, avx512)) << n;
  }
}

}  // namespace
}  // namespace block_attention::test
