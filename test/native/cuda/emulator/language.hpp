// What CUDA adds to C++, as far as kernels use it.
#pragma once

#include "emulator/block.hpp"

#define __global__
#define __host__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
// A static array would be one variable for each fiber, and unchecked.
#define __shared__ use_shared_base_with_lds_and_sts

// For functions that kernels call.
#define DEVICE_FN inline

#define threadIdx (::block_attention::cuda::emulator::thread_index())
#define blockIdx (::block_attention::cuda::emulator::block_index())
#define blockDim (::block_attention::cuda::emulator::block_size())
#define gridDim (::block_attention::cuda::emulator::grid_size())

namespace block_attention::cuda::emulator {

inline Grid thread_index() { return {current_thread->id, 0, 0}; }
inline Grid block_index() { return current_block->index; }
inline Grid block_size() { return {current_block->shape.threads, 1, 1}; }
inline Grid grid_size() { return current_block->shape.grid; }

}  // namespace block_attention::cuda::emulator
