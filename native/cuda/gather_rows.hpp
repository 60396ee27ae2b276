// Copies of chosen rows.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda {

// out[i] = x[rows[i]]; `rows` is out.rows indices on the device, all within x. x and out are of one
// type, any of the three; rows are 16-byte aligned and a multiple of 16 bytes long. Throws
// Error(kInvalidArgument) if shapes or types do not fit.
void gather_rows(Device& device, const Tensor& x, const int32_t* rows, const Tensor& out);

}  // namespace block_attention::cuda
