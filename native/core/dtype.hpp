// Element types of weights and KV states, and their scalar conversions. Vector code converts on its
// own; these are for the edges (one element, references in tests), and round to nearest even as the
// vector code does.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace block_attention {

// kI8 needs a scale beside it: KV states alone are kept so (cpu/kv_storage.hpp); weights in int8
// are a format of their own (model/backend.hpp).
enum class DType : uint8_t { kF32, kBF16, kF16, kI8 };

constexpr size_t dtype_size(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kI8 ? 1 : 2;
}
const char* dtype_name(DType dtype);

inline float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return static_cast<uint16_t>((bits >> 16) | 0x40u);  // a NaN stays one
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);

// Element `index` of an array of `dtype`, which is a float type.
float load_as_f32(const void* data, DType dtype, size_t index);

}  // namespace block_attention
