#include "model/rope_angles.hpp"

#include <cmath>

namespace block_attention {

void rope_angles(std::span<const double> inv_freq, double factor, int64_t position, float* out) {
  const size_t half = inv_freq.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * inv_freq[i];
    out[i] = static_cast<float>(std::cos(angle) * factor);
    out[half + i] = static_cast<float>(std::sin(angle) * factor);
  }
}

}  // namespace block_attention
