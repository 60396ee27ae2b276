#include "cuda/rms_norm.hpp"

#include <memory>

#include "core/error.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"
#include "rms_norm_reference.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::Random;
using block_attention::test::rms_norm_plain_error;
using block_attention::test::rms_norm_reference;
using block_attention::test::same_bits;

constexpr float kEps = 1e-5f;
// Less than a vector per thread, all of them, one more, several rounds.
constexpr int64_t kLengths[] = {8, 16, 64, 576, 1000, 2048, 2056, 4104};

class CudaRmsNormTest : public DeviceTest {
 protected:
  std::unique_ptr<CudaVector> upload(const std::vector<float>& values) {
    PinnedStaging staging(device(), 4096);
    return upload_vector(device(), staging, values);
  }

  std::vector<float> norm(const std::vector<float>& x, int64_t cols, const CudaVector& weight,
                          DType out_type, float eps = kEps) {
    const int64_t rows = static_cast<int64_t>(x.size()) / cols;
    const DeviceTensor in(device(), DType::kF32, rows, cols, cols + 4, x);
    const DeviceTensor out(device(), out_type, rows, cols, cols + 16);
    rms_norm(device(), in.view(), weight, eps, out.view());
    EXPECT_TRUE(same_bits(in.read(), x)) << "the input was changed";
    return out.read();
  }
};

std::vector<float> row_of(const std::vector<float>& values, int64_t row, int64_t cols) {
  return {values.begin() + row * cols, values.begin() + (row + 1) * cols};
}

TEST_F(CudaRmsNormTest, IsAsPreciseAsAPlainImplementation) {
  const uint64_t seed = 151;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const DType dtype : kHalfTypes) {
    for (const int64_t cols : kLengths) {
      const std::vector<float> weight = random.normals(static_cast<size_t>(cols));
      const auto weights = upload(weight);
      for (const float scale : {1e-4f, 1.0f, 3000.0f}) {
        constexpr int64_t kRows = 3;
        const std::vector<float> x = random.normals(static_cast<size_t>(kRows * cols), scale);
        const std::vector<float> out = norm(x, cols, *weights, dtype);
        for (int64_t row = 0; row < kRows; ++row) {
          const std::vector<float> x_row = row_of(x, row, cols);
          const std::vector<double> expected = rms_norm_reference(x_row, weight, kEps);
          const double ulps = 2 * rms_norm_plain_error(x_row, weight, kEps, expected) + 4;
          for (int64_t i = 0; i < cols; ++i) {
            const double want = expected[static_cast<size_t>(i)];
            const double got = double{out[static_cast<size_t>(row * cols + i)]};
            ASSERT_LE(std::abs(got - want), allowed_error(want, dtype, ulps))
                << dtype_name(dtype) << " row " << row << " column " << i << " of " << cols;
          }
        }
      }
    }
  }
}

TEST_F(CudaRmsNormTest, AddsTheResidualFirst) {
  Random random(152);
  for (const DType dtype : kHalfTypes) {
    for (const int64_t cols : kLengths) {
      constexpr int64_t kRows = 2;
      const size_t size = static_cast<size_t>(kRows * cols);
      const auto weights = upload(random.normals(static_cast<size_t>(cols)));
      const std::vector<float> before = random.normals(size);
      const std::vector<float> delta = rounded(random.normals(size, 0.1f), dtype);
      std::vector<float> sum(size);
      for (size_t i = 0; i < size; ++i) sum[i] = before[i] + delta[i];

      const DeviceTensor residual(device(), DType::kF32, kRows, cols, cols + 8, before);
      const DeviceTensor added(device(), dtype, kRows, cols, cols + 8, delta);
      const DeviceTensor out(device(), dtype, kRows, cols, cols);
      add_rms_norm(device(), residual.view(), added.view(), *weights, kEps, out.view());
      ASSERT_TRUE(same_bits(residual.read(), sum)) << cols;
      ASSERT_TRUE(same_bits(out.read(), norm(sum, cols, *weights, dtype))) << cols;
    }
  }
}

TEST_F(CudaRmsNormTest, RowsDoNotKnowTheirBatch) {
  Random random(153);
  constexpr int64_t kCols = 1000;
  constexpr int64_t kRows = 37;
  const auto weights = upload(random.normals(kCols));
  const std::vector<float> x = random.normals(kRows * kCols);
  const std::vector<float> all = norm(x, kCols, *weights, DType::kBF16);
  for (const int64_t row : {0, 1, 17, 36}) {
    const std::vector<float> alone = norm(row_of(x, row, kCols), kCols, *weights, DType::kBF16);
    EXPECT_TRUE(same_bits(alone, row_of(all, row, kCols))) << row;
  }
}

TEST_F(CudaRmsNormTest, ZeroStaysZeroAndEpsCounts) {
  const auto weights = upload(std::vector<float>(40, 2));
  const std::vector<float> zeros(40, 0);
  EXPECT_TRUE(same_bits(norm(zeros, 40, *weights, DType::kF16), zeros));
  EXPECT_TRUE(same_bits(norm(std::vector<float>(40, 1), 40, *weights, DType::kF16, 3),
                        std::vector<float>(40, 1)));
}

TEST_F(CudaRmsNormTest, NoRowsAreNoWork) {
  const auto weights = upload(std::vector<float>(8, 1));
  rms_norm(device(), {nullptr, DType::kF32, 0, 8, 8}, *weights, kEps,
           {nullptr, DType::kBF16, 0, 8, 8});
  device().synchronize();
}

TEST_F(CudaRmsNormTest, BadInputIsRefused) {
  const auto weights = upload(std::vector<float>(16, 1));
  const DeviceTensor x(device(), DType::kF32, 2, 16, 20);
  const DeviceTensor delta(device(), DType::kBF16, 2, 16, 24);
  const DeviceTensor out(device(), DType::kBF16, 2, 16, 24);
  const auto refused = [&](const Tensor& from, const Tensor& added, const Tensor& to) {
    try {
      add_rms_norm(device(), from, added, *weights, kEps, to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(x.view(), delta.view(), out.view()));
  EXPECT_TRUE(refused(x.view().columns(0, 8), delta.view(), out.view()));
  EXPECT_TRUE(refused(x.view(), delta.view().columns(0, 8), out.view()));
  EXPECT_TRUE(refused(x.view(), delta.view(), out.view().columns(0, 8)));
  EXPECT_TRUE(refused(x.view(), delta.view(), out.view().row_range(0, 1)));
  EXPECT_TRUE(refused(x.view(), delta.view().row_range(0, 1), out.view()));
  EXPECT_TRUE(refused(out.view(), delta.view(), out.view()));
  EXPECT_TRUE(refused(x.view(), delta.view(), x.view()));
  Tensor f16 = delta.view();
  f16.dtype = DType::kF16;
  EXPECT_TRUE(refused(x.view(), f16, out.view()));
  Tensor misaligned = x.view();
  misaligned.stride = 18;
  EXPECT_TRUE(refused(misaligned, delta.view(), out.view()));
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
