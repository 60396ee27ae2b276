#include "cuda/gather_rows.hpp"

#include "core/error.hpp"
#include "device_array.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::Random;
using block_attention::test::same_bits;

class CudaGatherRowsTest : public DeviceTest {};

TEST_F(CudaGatherRowsTest, CopiesTheChosenRowsOfEveryType) {
  const uint64_t seed = 191;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t cols : {8, 136, 1024, 1032, 2056}) {
      const int64_t rows = random.between(1, 20);
      const DeviceTensor x(device(), dtype, rows, cols, cols + 8,
                           random.normals(static_cast<size_t>(rows * cols)));
      std::vector<int32_t> chosen(static_cast<size_t>(random.between(1, 30)));
      for (int32_t& row : chosen) row = static_cast<int32_t>(random.between(0, rows - 1));
      const DeviceArray<int32_t> indices(device(), chosen);
      const auto count = static_cast<int64_t>(chosen.size());
      const DeviceTensor out(device(), dtype, count, cols, cols + 16);
      gather_rows(device(), x.view(), indices.data(), out.view());
      const std::vector<float> all = x.read();
      std::vector<float> expected;
      for (const int32_t row : chosen) {
        expected.insert(expected.end(), all.begin() + row * cols, all.begin() + (row + 1) * cols);
      }
      ASSERT_TRUE(same_bits(out.read(), expected)) << dtype_name(dtype) << " " << cols;
    }
  }
}

TEST_F(CudaGatherRowsTest, BadInputIsRefused) {
  const DeviceTensor x(device(), DType::kBF16, 3, 16, 24);
  const DeviceTensor out(device(), DType::kBF16, 2, 16, 16);
  const DeviceArray<int32_t> rows(device(), std::vector<int32_t>{2, 0});
  const auto refused = [&](const Tensor& from, const Tensor& to) {
    try {
      gather_rows(device(), from, rows.data(), to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(x.view(), out.view()));
  EXPECT_TRUE(refused(x.view(), out.view().columns(0, 8)));
  EXPECT_TRUE(refused(x.view().columns(0, 12), out.view().columns(0, 12)));
  EXPECT_TRUE(refused(x.view().columns(4, 16), out.view()));
  Tensor other = x.view();
  other.dtype = DType::kF16;
  EXPECT_TRUE(refused(other, out.view()));
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
