#include "cuda/copy_pages.hpp"

#include "core/error.hpp"
#include "device_array.hpp"
#include "page_copies.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

class CudaCopyPagesTest : public DeviceTest {};

TEST_F(CudaCopyPagesTest, CopiesTheTokensInAllLayersAndNothingElse) {
  for (const KvShape& shape : kCopiedShapes) {
    SCOPED_TRACE(testing::Message() << dtype_name(shape.dtype) << ", head_dim " << shape.head_dim);
    EXPECT_EQ(wrong_copies(device(), shape,
                           [](Device& device, const PageCopy* copies, size_t count,
                              CudaKvStorage& kv) { copy_pages(device, copies, count, kv); }),
              "");
  }
}

TEST_F(CudaCopyPagesTest, NoCopiesAreNoWork) {
  CudaKvStorage kv(device(), {1, 1, 16, DType::kBF16}, 1);
  copy_pages(device(), nullptr, 0, kv);
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
