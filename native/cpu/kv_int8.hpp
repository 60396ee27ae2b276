// Where the scales of a page in int8 are (kv_storage.hpp).
#pragma once

#include <cstdint>

#include "cpu/kv_layout.hpp"

namespace block_attention {

// Of the K or the V that begins at `part`: one scale for each slot.
inline const float* int8_scales(const void* part, int32_t head_dim) {
  return reinterpret_cast<const float*>(static_cast<const char*>(part) + head_dim * kKvPageSlots);
}
inline float* int8_scales(void* part, int32_t head_dim) {
  return reinterpret_cast<float*>(static_cast<char*>(part) + head_dim * kKvPageSlots);
}

}  // namespace block_attention
