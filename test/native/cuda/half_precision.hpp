// What rounding to bf16 or f16 costs, for tests that compare with float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.hpp"

namespace block_attention::cuda::test {

inline constexpr DType kHalfTypes[] = {DType::kBF16, DType::kF16};

inline float rounded(float value, DType dtype) {
  if (dtype == DType::kF32) return value;
  return dtype == DType::kBF16 ? bf16_to_f32(f32_to_bf16(value)) : f16_to_f32(f32_to_f16(value));
}

inline std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) value = rounded(value, dtype);
  return values;
}

// The distance from `value` to the next number of the type.
inline double unit_in_last_place(double value, DType dtype) {
  const int bits = dtype == DType::kF32 ? 24 : dtype == DType::kBF16 ? 8 : 11;
  const int least_exponent = dtype == DType::kF16 ? -14 : -126;
  int exponent = 0;
  std::frexp(value, &exponent);  // value = m 2^exponent, m in [0.5, 1)
  return std::ldexp(1.0, std::max(exponent - 1, least_exponent) - bits + 1);
}

// What a result may be off: the rounding to its type, and `float_ulps` of float32 arithmetic
// before.
inline double allowed_error(double expected, DType dtype, double float_ulps) {
  const double before = float_ulps * unit_in_last_place(expected, DType::kF32);
  return dtype == DType::kF32 ? before : before + 0.5 * unit_in_last_place(expected, dtype);
}

}  // namespace block_attention::cuda::test
