#include "core/random.hpp"

namespace block_attention {

float random_normal(uint64_t seed, uint64_t index) {
  // One 16-bit uniform has mean 65535 / 2 and variance (65536^2 - 1) / 12; four of them,
  // sqrt((65536^2 - 1) / 3).
  constexpr int32_t kMean = 2 * 65535;
  constexpr float kInverseDeviation = 1.0f / 37837.2272372f;
  const uint64_t bits = random_u64(seed, index);
  const uint64_t sum =
      (bits & 0xffffu) + ((bits >> 16) & 0xffffu) + ((bits >> 32) & 0xffffu) + (bits >> 48);
  return static_cast<float>(static_cast<int32_t>(sum) - kMean) * kInverseDeviation;
}

void fill_random(DType dtype, float scale, uint64_t seed, uint64_t begin, size_t count, void* out) {
  float* floats = static_cast<float*>(out);
  uint16_t* halves = static_cast<uint16_t*>(out);
  switch (dtype) {
    case DType::kF32:
      for (size_t i = 0; i < count; ++i) floats[i] = random_normal(seed, begin + i) * scale;
      return;
    case DType::kBF16:
      for (size_t i = 0; i < count; ++i)
        halves[i] = f32_to_bf16(random_normal(seed, begin + i) * scale);
      return;
    case DType::kF16:
      for (size_t i = 0; i < count; ++i)
        halves[i] = f32_to_f16(random_normal(seed, begin + i) * scale);
      return;
  }
}

}  // namespace block_attention
