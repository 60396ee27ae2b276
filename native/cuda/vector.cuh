// Eight neighbouring elements as floats, moved 16 bytes at a time.
#pragma once

#include "cuda/primitives.cuh"

namespace block_attention::cuda {

inline constexpr int kVector = 8;

DEVICE_FN void load_vector(const float* from, float (&to)[kVector]) {
  const F32x4 low = ldg(reinterpret_cast<const F32x4*>(from));
  const F32x4 high = ldg(reinterpret_cast<const F32x4*>(from + 4));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[i] = low.x[i];
    to[i + 4] = high.x[i];
  }
}

template <typename E>
DEVICE_FN void load_vector(const E* from, float (&to)[kVector]) {
  const U32x4 words = ldg(reinterpret_cast<const U32x4*>(from));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = unpack_low<E>(words.x[i]);
    to[2 * i + 1] = unpack_high<E>(words.x[i]);
  }
}

DEVICE_FN void store_vector(float* to, const float (&from)[kVector]) {
  stg(reinterpret_cast<F32x4*>(to), F32x4{{from[0], from[1], from[2], from[3]}});
  stg(reinterpret_cast<F32x4*>(to + 4), F32x4{{from[4], from[5], from[6], from[7]}});
}

template <typename E>
DEVICE_FN void store_vector(E* to, const float (&from)[kVector]) {
  U32x4 words;
#pragma unroll
  for (int i = 0; i < 4; ++i) words.x[i] = pack<E>(from[2 * i], from[2 * i + 1]);
  stg(reinterpret_cast<U32x4*>(to), words);
}

}  // namespace block_attention::cuda
