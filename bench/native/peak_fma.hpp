// The rate of fused multiply-adds on registers: what no float32 kernel can pass.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

// Runs `rounds` rounds; each returns after fma_flops_per_round() operations.
using PeakFma = float (*)(int64_t rounds);

PeakFma peak_fma(Isa isa);
double fma_flops_per_round(Isa isa);

}  // namespace block_attention
