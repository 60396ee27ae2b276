// The Backend on an NVIDIA GPU: bf16 or f16 operands, float32 sums, residual and logits; everything
// of a step is put on one stream, and finish_step() is the one wait.
#pragma once

#include <memory>

#include "model/backend.hpp"

namespace block_attention::cuda {

struct CudaBackendOptions {
  int ordinal = 0;
  // The bits of a row depend on that row alone, in any batch. Otherwise linear layers go through
  // cuBLASLt where it is installed, which is faster and picks kernels, and with them bits, by the
  // number of rows.
  bool deterministic = false;
};

// Throws Error(kDeviceUnavailable) with what was found instead of a device.
std::unique_ptr<Backend> make_cuda_backend(const CudaBackendOptions& options);

}  // namespace block_attention::cuda
