// Rows of activations as pairs of bfloat16, for products with weights packed so
// (linear_weight.hpp).
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

constexpr int64_t bf16_pairs(int64_t inputs) { return (inputs + 1) / 2; }

struct Bf16PairKernels {
  // from[inputs] to bf16_pairs(inputs) pairs, rounded to nearest even; subnormal numbers become
  // zero. The second of a last pair that has none is zero.
  void (*round)(const float* from, int64_t inputs, void* to);
};

// Only where has_bf16_dots().
Bf16PairKernels bf16_pair_kernels();

}  // namespace block_attention
