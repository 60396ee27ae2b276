// Runs copy_pages of the namespace PLANTED on pages of several shapes and compares byte by byte.
#include <string>

#include "page_copies.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

std::string run(Device& device) {
  for (const KvShape& shape : test::kCopiedShapes) {
    const std::string said = test::wrong_copies(
        device, shape, [](Device& on, const PageCopy* copies, size_t count, CudaKvStorage& kv) {
          PLANTED::copy_pages(on, copies, count, kv);
        });
    if (!said.empty()) return said;
  }
  return "";
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
