// CUDA's return codes as exceptions. For files that nvcc compiles.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "core/error.hpp"

namespace block_attention::cuda {

// Throws Error(kOutOfMemory) or Error(kDevice) that names `what` and CUDA's own words.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const std::string message = std::string(what) + " failed: " + cudaGetErrorName(status) + ": " +
                              cudaGetErrorString(status);
  // An error that does not stick to the device would otherwise be reported once more by the next
  // call.
  static_cast<void>(cudaGetLastError());
  throw Error(status == cudaErrorMemoryAllocation ? ErrorCode::kOutOfMemory : ErrorCode::kDevice,
              message);
}

}  // namespace block_attention::cuda
