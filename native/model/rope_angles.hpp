// cos and sin of RoPE's angles at one position. Worked out in float64, kept in float32. Su et al.
// 2021 (RoFormer), eq. 34; the attention factor is YaRN's (Peng et al. 2023, section 3.4).
#pragma once

#include <cstdint>
#include <span>

namespace block_attention {

// Writes cos of position * inv_freq[i] for all i, then their sin, times `factor`: 2 *
// inv_freq.size() floats. Positions may be negative.
void rope_angles(std::span<const double> inv_freq, double factor, int64_t position, float* out);

}  // namespace block_attention
