#include "cuda/copy_pages.hpp"

#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 128;

// In units of 16 bytes. A part is K or V of one layer and head; the page's slots follow one another
// in it. Grid: (copies, parts of a page).
__global__ void __launch_bounds__(kThreads)
    copy_pages_kernel(U32x4* pages, int64_t page_units, int32_t slot_units,
                      const PageCopy* copies) {
  const PageCopy* copy = copies + blockIdx.x;
  const int64_t part = int64_t{blockIdx.y} * kPageTokens * slot_units;
  const U32x4* from = pages + ldg(&copy->from) * page_units + part;
  U32x4* to = pages + ldg(&copy->to) * page_units + part;
  const int32_t units = ldg(&copy->tokens) * slot_units;
  for (auto unit = static_cast<int32_t>(threadIdx.x); unit < units; unit += kThreads) {
    stg(to + unit, ldg_streaming(from + unit));
  }
}

}  // namespace

void copy_pages(Device& device, const PageCopy* copies, size_t count, CudaKvStorage& kv) {
  constexpr int64_t kUnitBytes = sizeof(U32x4);
  const KvView view = kv.view();
  const auto parts = static_cast<uint32_t>(2 * view.page_bytes / view.head_bytes);
  const auto slot_units = static_cast<int32_t>(view.head_bytes / (2 * kPageTokens * kUnitBytes));
  launch<copy_pages_kernel>(
      device, {.grid = {static_cast<uint32_t>(count), parts}, .threads = kThreads},
      reinterpret_cast<U32x4*>(view.data), view.page_bytes / kUnitBytes, slot_units, copies);
}

}  // namespace block_attention::cuda
