#include "core/random.hpp"

namespace block_attention {

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
    case DType::kI8:
      return;  // no weights have it
  }
}

}  // namespace block_attention
