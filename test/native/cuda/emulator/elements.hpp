// Conversions of 16-bit elements with the bits that a GPU gives, and the arithmetic that differs
// from the host's.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/dtype.hpp"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

template <typename To, typename From>
To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(static_cast<void*>(&to), static_cast<const void*>(&from), sizeof(To));
  return to;
}

inline constexpr uint32_t kGpuNan = 0x7fffffffu;
inline constexpr uint16_t kGpuHalfNan = 0x7fffu;

inline float widen(Bf16 value) { return bf16_to_f32(value.bits); }

inline float widen(F16 value) {
  const float wide = f16_to_f32(value.bits);
  return std::isnan(wide) ? bits_as<float>(uint32_t{kGpuNan}) : wide;
}

template <typename E>
E narrow(float value) {
  static_assert(is_element<E>);
  if (std::isnan(value)) return {kGpuHalfNan};
  if constexpr (std::is_same_v<E, Bf16>) {
    return {f32_to_bf16(value)};
  } else {
    return {f32_to_f16(value)};
  }
}

template <typename E>
uint32_t pack(float low, float high) {
  return narrow<E>(low).bits | uint32_t{narrow<E>(high).bits} << 16;
}

template <typename E>
float unpack_low(uint32_t packed) {
  return widen(E{static_cast<uint16_t>(packed & 0xffffu)});
}

template <typename E>
float unpack_high(uint32_t packed) {
  return widen(E{static_cast<uint16_t>(packed >> 16)});
}

// Subnormal arguments and results count as zero.
inline float exp2_approx(float x) {
  if (std::isnan(x)) return bits_as<float>(uint32_t{kGpuNan});
  if (std::fpclassify(x) == FP_SUBNORMAL) return 1;
  const float y = std::exp2(x);
  return std::fpclassify(y) == FP_SUBNORMAL ? 0.0f : y;
}

}  // namespace block_attention::cuda
