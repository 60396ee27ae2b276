// The rates of multiply-adds on registers, which no kernel can pass: of float32, of bfloat16 and of
// int8, each by the fastest instructions that the kernels have for it on this CPU, those of vectors
// or of tiles (AMX).
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

enum class Product { kF32, kBF16, kInt8 };

struct PeakProducts {
  // Returns after `rounds` times flops_per_round operations, a multiply-add counting two.
  float (*run)(int64_t rounds);
  double flops_per_round;
  // Of tiles, which have a unit of their own: vectors compute beside them.
  bool tiles = false;
};

// Without instructions for bfloat16 its rate is that of float32.
PeakProducts peak_products(Isa isa, Product product);

}  // namespace block_attention
