// Keys of a block rotated on by some positions, and its values, as one contiguous copy: for export,
// and as the baseline that attention with rotated queries is measured against.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/kv_storage.hpp"

namespace block_attention::cuda {

// The first out_k.rows keys and values of `pages` (on the device). `angles`, on the device, holds
// cos, then sin, of `half` angles. out_k and out_v [length, kv_heads x head_dim], float32. Throws
// Error(kInvalidArgument) if they do not fit.
void rope_rotate(Device& device, const CudaKvStorage& kv, const PageId* pages, int32_t layer,
                 const float* angles, int32_t half, const Tensor& out_k, const Tensor& out_v);

}  // namespace block_attention::cuda
