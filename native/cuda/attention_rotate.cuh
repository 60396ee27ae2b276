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

// kWidth dims from `dim` on of a row in a tile of panels of kRows rows.
template <typename E, int kRows, int kWidth>
DEVICE_FN void store_dims(uint32_t tile, int row, int dim, const float (&from)[kWidth]) {
  const uint32_t at = tile + panel_offset<kRows>(row, dim / 8);
  if constexpr (kWidth == kVector) {
    U32x4 words;
#pragma unroll
    for (int i = 0; i < 4; ++i) words.x[i] = pack<E>(from[2 * i], from[2 * i + 1]);
    sts(at, words);
  } else {
    sts(at + static_cast<uint32_t>(dim % 8) * 2, narrow<E>(from[0]));
  }
}

// kWidth dims of a row and those half a head further on, rotated and scaled.
template <int kWidth>
struct RotatedDims {
  float low[kWidth];
  float high[kWidth];
  float cos[kWidth];
  float sin[kWidth];

  template <typename E>
  DEVICE_FN void load(const E* q, const float* angles, int dim, int half) {
    load_floats(q + dim, low);
    load_floats(q + half + dim, high);
    load_floats(angles + dim, cos);
    load_floats(angles + half + dim, sin);
  }
  template <typename E, int kRows>
  DEVICE_FN void store(uint32_t rotated, int row, int dim, int half, float scale) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float x1 = low[i];
      const float x2 = high[i];
      low[i] = scale * fmaf(-x2, sin[i], x1 * cos[i]);
      high[i] = scale * fmaf(x1, sin[i], x2 * cos[i]);
    }
    store_dims<E, kRows>(rotated, row, dim, low);
    store_dims<E, kRows>(rotated, row, half + dim, high);
  }
};

// Row `row` of the tile `rotated` = scale * (q rotated by `rotation` positions), rounded once; two
// lanes share a row, and this one takes every second group of kWidth dims. kTwice: two groups are
// asked for at once, since each waits for memory; for kernels that have registers left.
template <typename E, int kRows, bool kTwice, int kWidth>
DEVICE_FN void rotate_row(const AttentionArguments& arguments, const E* q, int rotation,
                          uint32_t rotated, int row, int lane) {
  const int half = arguments.half;
  const float scale = arguments.scale;
  const float* angles = arguments.rope + int64_t{rotation} * 2 * half;
  const int first = (lane & 1) * kWidth;
#pragma unroll 1
  for (int dim = first; dim < half; dim += (kTwice ? 4 : 2) * kWidth) {
    const int next = dim + 2 * kWidth;
    RotatedDims<kWidth> now;
    RotatedDims<kWidth> then;
    now.load(q, angles, dim, half);
    if (kTwice && next < half) then.load(q, angles, next, half);
    now.template store<E, kRows>(rotated, row, dim, half, scale);
    if (kTwice && next < half) then.template store<E, kRows>(rotated, row, next, half, scale);
  }
#pragma unroll 1
  for (int dim = 2 * half + first; dim < arguments.head_dim; dim += 2 * kWidth) {
    float values[kWidth];
    load_floats(q + dim, values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) values[i] *= scale;
    store_dims<E, kRows>(rotated, row, dim, values);
  }
}

}  // namespace block_attention::cuda
