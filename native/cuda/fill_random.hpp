// Random weights, made where they are used: models for timing, which no file holds.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda {

// to[i] = the values' element i, for i below `count`, a multiple of 8: the bits that fill_random()
// gives on the host. `to` holds elements of `dtype`, bf16 or f16, 16-byte aligned.
void fill_random(Device& device, const RandomValues& values, DType dtype, void* to, int64_t count);

}  // namespace block_attention::cuda
