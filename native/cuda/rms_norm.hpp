// RMSNorm over rows (Zhang & Sennrich 2019), alone and fused with the residual addition before it.
//
// Rows are 16-byte aligned and have a multiple of 8 columns. A row is summed in an order that its
// length alone decides.
#pragma once

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/linear_weight.hpp"

namespace block_attention::cuda {

// out = x / sqrt(mean(x^2) + eps) * weight, row by row; x is float32, out bf16 or f16. Throws
// Error(kInvalidArgument) if shapes or types do not fit.
void rms_norm(Device& device, const Tensor& x, const CudaVector& weight, float eps,
              const Tensor& out);

// residual += delta; out = rms_norm(residual). residual is float32, delta and out are of one type,
// bf16 or f16.
void add_rms_norm(Device& device, const Tensor& residual, const Tensor& delta,
                  const CudaVector& weight, float eps, const Tensor& out);

}  // namespace block_attention::cuda
