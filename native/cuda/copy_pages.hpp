// Copies of pages, in all layers.
#pragma once

#include <cstddef>

#include "cuda/device.hpp"
#include "cuda/kv_storage.hpp"
#include "model/step.hpp"

namespace block_attention::cuda {

// `copies`, on the device, is `count` copies between pages of `kv`; no page is copied to that is
// copied from, or twice. Only the slots of a copy's tokens are read: others may never have been
// written.
void copy_pages(Device& device, const PageCopy* copies, size_t count, CudaKvStorage& kv);

}  // namespace block_attention::cuda
