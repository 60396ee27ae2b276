// RMSNorm over rows of float32 (Zhang & Sennrich 2019), alone and fused with the residual addition
// before it.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

struct RmsNormKernels {
  // out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i], i < n. out may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t n, float* out);
  // residual[i] += delta[i]; out = rms_norm(residual).
  void (*add_rms_norm)(float* residual, const float* delta, const float* weight, float eps,
                       int64_t n, float* out);
};

RmsNormKernels rms_norm_kernels(Isa isa);

}  // namespace block_attention
