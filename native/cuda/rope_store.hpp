// Keys on their way to pages: normed per head if asked, rotated by their position in their own
// block; values as they are; queries normed in place, not rotated.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/kv_storage.hpp"
#include "model/backend.hpp"

namespace block_attention::cuda {

// Where a row's key and value go.
struct alignas(8) RowPlace {
  PageId page;
  int32_t position;  // in its own block
};

struct RopeStoreShape {
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;
  int32_t half;  // of the rotated dims
};

// qkv [rows, (heads + 2 kv_heads) x head_dim] of the pages' type, 16-byte aligned; `places` has an
// entry per row and `angles` (as CudaRopeTable) one per position, both on the device. Throws
// Error(kInvalidArgument) if they do not fit.
void rope_store(Device& device, const Tensor& qkv, const RowPlace* places, const float* angles,
                const RopeStoreShape& shape, const QkNorm& norm, int32_t layer,
                const CudaKvStorage& kv);

}  // namespace block_attention::cuda
