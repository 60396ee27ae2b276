// Rotating query rows, once per segment, on their way to shared memory.
#pragma once

#include "cuda/attention_tiles.hpp"
#include "cuda/chunk_offset.cuh"
#include "cuda/primitives.cuh"
#include "cuda/vector.cuh"

namespace block_attention::cuda {

template <int kWidth, typename T>
DEVICE_FN void load_floats(const T* from, float (&to)[kWidth]) {
  if constexpr (kWidth == kVector) {
    load_vector(from, to);
  } else if constexpr (is_element<T>) {
    to[0] = widen(ldg(from));
  } else {
    to[0] = ldg(from);
  }
}

// kWidth dims from `dim` on of a row in a tile of kChunks chunks per row.
template <typename E, int kChunks, int kWidth>
DEVICE_FN void store_dims(uint32_t tile, int row, int dim, const float (&from)[kWidth]) {
  const uint32_t at = tile + chunk_offset<kChunks>(row, dim / 8);
  if constexpr (kWidth == kVector) {
    U32x4 words;
#pragma unroll
    for (int i = 0; i < 4; ++i) words.x[i] = pack<E>(from[2 * i], from[2 * i + 1]);
    sts(at, words);
  } else {
    sts(at + static_cast<uint32_t>(dim % 8) * 2, narrow<E>(from[0]));
  }
}

// Row `row` of the tile `rotated` = scale * (q rotated by `rotation` positions), rounded once; two
// lanes share a row, and this one takes every second group of kWidth dims.
template <typename E, int kChunks, int kWidth>
DEVICE_FN void rotate_row(const AttentionArguments& arguments, const E* q, int rotation,
                          uint32_t rotated, int row, int lane) {
  const int half = arguments.half;
  const float scale = arguments.scale;
  const float* angles = arguments.rope + int64_t{rotation} * 2 * half;
  const int first = (lane & 1) * kWidth;
#pragma unroll 1
  for (int dim = first; dim < half; dim += 2 * kWidth) {
    float low[kWidth];
    float high[kWidth];
    float cos[kWidth];
    float sin[kWidth];
    load_floats(q + dim, low);
    load_floats(q + half + dim, high);
    load_floats(angles + dim, cos);
    load_floats(angles + half + dim, sin);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float x1 = low[i];
      const float x2 = high[i];
      low[i] = scale * fmaf(-x2, sin[i], x1 * cos[i]);
      high[i] = scale * fmaf(x1, sin[i], x2 * cos[i]);
    }
    store_dims<E, kChunks>(rotated, row, dim, low);
    store_dims<E, kChunks>(rotated, row, half + dim, high);
  }
#pragma unroll 1
  for (int dim = 2 * half + first; dim < arguments.head_dim; dim += 2 * kWidth) {
    float values[kWidth];
    load_floats(q + dim, values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] *= scale;
    store_dims<E, kChunks>(rotated, row, dim, values);
  }
}

}  // namespace block_attention::cuda
