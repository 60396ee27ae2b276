// Where the elements of a page of keys or of values lie (kv_storage.hpp).
//
// Two bfloat16 that are multiplied and added by one instruction are side by side, and a vector is
// loaded as it lies there, by every CPU: of a key dims 2i and 2i + 1, of values slots 2i and 2i + 1
// of one dim. (A CPU without products of bf16 widens either half of every lane by one instruction.)
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace block_attention {

inline constexpr int32_t kKvPageSlots = 16;

// Elements side by side.
constexpr int32_t kv_pair(DType dtype) { return dtype == DType::kBF16 ? 2 : 1; }

// K: [head_dim / pair][16 slots][pair].
constexpr int32_t key_index(int32_t pair, int32_t slot, int32_t dim) {
  return (dim / pair * kKvPageSlots + slot) * pair + dim % pair;
}
// V: [16 slots / pair][head_dim][pair].
constexpr int32_t value_index(int32_t pair, int32_t head_dim, int32_t slot, int32_t dim) {
  return (slot / pair * head_dim + dim) * pair + slot % pair;
}

}  // namespace block_attention
