// The highest rate of float32 multiply-adds that the machine gives: registers alone, no memory. The
// yardstick for kernels that are bound by arithmetic.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

struct PeakFma {
  // Runs `steps` rounds of independent multiply-adds; the result keeps them alive.
  float (*run)(int64_t steps);
  // Floating-point operations of one step.
  int64_t flops_per_step;
};

PeakFma peak_fma(Isa isa);

}  // namespace block_attention
