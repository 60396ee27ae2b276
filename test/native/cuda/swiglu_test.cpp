#include "cuda/swiglu.hpp"

#include <cmath>

#include "core/error.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"
#include "support.hpp"
#include "swiglu_reference.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::kInf;
using block_attention::test::kNan;
using block_attention::test::Random;
using block_attention::test::same_bits;
using block_attention::test::swiglu_reference;

class CudaSwigluTest : public DeviceTest {
 protected:
  // Rows of [gate | up].
  std::vector<float> run(const std::vector<float>& gate_up, int64_t cols, DType dtype) {
    const int64_t rows = static_cast<int64_t>(gate_up.size()) / (2 * cols);
    const DeviceTensor in(device(), dtype, rows, 2 * cols, 2 * cols + 8, gate_up);
    const DeviceTensor out(device(), dtype, rows, cols, cols + 16);
    swiglu(device(), in.view(), out.view());
    return out.read();
  }
};

TEST_F(CudaSwigluTest, IsWithinTheRoundingOfItsResult) {
  const uint64_t seed = 181;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const DType dtype : kHalfTypes) {
    for (const int64_t cols : {8, 64, 2040, 2048, 2056}) {
      constexpr int64_t kRows = 3;
      const std::vector<float> in =
          rounded(random.normals(static_cast<size_t>(kRows * 2 * cols), 4), dtype);
      const std::vector<float> out = run(in, cols, dtype);
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t col = 0; col < cols; ++col) {
          const float gate = in[static_cast<size_t>(row * 2 * cols + col)];
          const float up = in[static_cast<size_t>(row * 2 * cols + cols + col)];
          const double expected = swiglu_reference(gate, up);
          ASSERT_LE(std::abs(double{out[static_cast<size_t>(row * cols + col)]} - expected),
                    allowed_error(expected, dtype, 8))
              << dtype_name(dtype) << " gate " << gate << " up " << up;
        }
      }
    }
  }
}

TEST_F(CudaSwigluTest, NeitherOverflowsNorLosesSignAtTheEnds) {
  const std::vector<float> gate = {-3e38f, -1000, -200, -104.5f, -88, -50,   -0.0f, 0.0f,
                                   1e-30f, 50,    88,   89,      200, 3e38f, 1,     -1};
  std::vector<float> in = gate;
  in.insert(in.end(), gate.size(), 1.0f);
  const std::vector<float> out = run(in, static_cast<int64_t>(gate.size()), DType::kBF16);
  for (size_t i = 0; i < gate.size(); ++i) {
    const float exact = rounded(gate[i], DType::kBF16);
    const double expected = swiglu_reference(exact, 1);
    // Where exp(gate) is subnormal the result is as good as zero.
    EXPECT_LE(std::abs(double{out[i]} - expected), allowed_error(expected, DType::kBF16, 8) + 1e-35)
        << gate[i];
    EXPECT_TRUE(std::isfinite(out[i])) << gate[i];
  }
}

TEST_F(CudaSwigluTest, PassesNotANumberOn) {
  const std::vector<float> in = {kNan, 1, 2, kInf, 1, 1, 1, 1, 1, kNan, 2, 2, 1, 1, 1, 1};
  for (const DType dtype : kHalfTypes) {
    const std::vector<float> out = run(in, 8, dtype);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_TRUE(std::isnan(out[1]));
    EXPECT_FALSE(std::isnan(out[2]));
    EXPECT_EQ(out[3], kInf);
  }
}

TEST_F(CudaSwigluTest, RowsDoNotKnowTheirBatch) {
  Random random(182);
  constexpr int64_t kCols = 136;
  const std::vector<float> in = random.normals(19 * 2 * kCols, 3);
  const std::vector<float> all = run(in, kCols, DType::kF16);
  for (const int64_t row : {0, 7, 18}) {
    const auto first = in.begin() + row * 2 * kCols;
    EXPECT_TRUE(same_bits(run({first, first + 2 * kCols}, kCols, DType::kF16),
                          {all.begin() + row * kCols, all.begin() + (row + 1) * kCols}));
  }
}

TEST_F(CudaSwigluTest, BadInputIsRefused) {
  const DeviceTensor in(device(), DType::kBF16, 2, 32, 40);
  const DeviceTensor out(device(), DType::kBF16, 2, 16, 16);
  const auto refused = [&](const Tensor& from, const Tensor& to) {
    try {
      swiglu(device(), from, to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(in.view(), out.view()));
  EXPECT_TRUE(refused(in.view(), out.view().columns(0, 8)));
  EXPECT_TRUE(refused(in.view().columns(0, 24), out.view().columns(0, 12)));
  EXPECT_TRUE(refused(in.view().row_range(0, 1), out.view()));
  EXPECT_TRUE(refused(in.view().columns(4, 32), out.view()));
  Tensor f16 = in.view();
  f16.dtype = DType::kF16;
  EXPECT_TRUE(refused(f16, out.view()));
  Tensor f32 = out.view();
  f32.dtype = DType::kF32;
  EXPECT_TRUE(refused(in.view(), f32));
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
