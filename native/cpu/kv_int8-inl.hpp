// Keys and values of a page in int8: one token's floats to integers, and back (compiled once per
// Highway target). Rounded to nearest even; the same integers on every CPU. What holds an infinity
// or a NaN gets a scale of NaN.
#if defined(BLOCK_ATTENTION_CPU_KV_INT8_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_KV_INT8_INL
#undef BLOCK_ATTENTION_CPU_KV_INT8_INL
#else
#define BLOCK_ATTENTION_CPU_KV_INT8_INL
#endif

#include <cstdint>

#include "cpu/kv_int8.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {

// One token's values, `step` bytes apart in the page; gives the scale.
inline float store_int8(const float* values, int32_t head_dim, int8_t* to, int32_t step) {
  // As integers, magnitudes are ordered as the numbers are, NaN above all.
  uint32_t most = 0;
  for (int32_t i = 0; i < head_dim; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, values + i, 4);
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  constexpr uint32_t kInfinity = 0x7f800000u;
  constexpr float kSmallest = 1e-30f;  // below, the inverse could not be represented
  float greatest;
  __builtin_memcpy(&greatest, &most, 4);
  if (most >= kInfinity || greatest < kSmallest) {
    for (int32_t i = 0; i < head_dim; ++i) to[i * step] = 0;
    return most >= kInfinity ? __builtin_nanf("") : 0.0f;
  }
  const float scale = greatest / 127.0f;
  const float inverse = 1.0f / scale;
  for (int32_t i = 0; i < head_dim; ++i)
    to[i * step] = static_cast<int8_t>(__builtin_rintf(values[i] * inverse));
  return scale;
}

// The float32 of `count` values of one scale, a multiple of the lanes.
inline void load_int8(const int8_t* from, float scale, int32_t count, float* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<int8_t, decltype(d)> bytes;
  const auto scales = hn::Set(d, scale);
  for (int32_t i = 0; i < count; i += static_cast<int32_t>(hn::Lanes(d))) {
    const auto wide = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, from + i)));
    hn::StoreU(hn::Mul(wide, scales), d, to + i);
  }
}

// The float32 of `dims` times the 16 slots, each with its scale.
inline void load_int8_slots(const int8_t* from, const float* scales, int32_t dims, float* to) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<int8_t, decltype(d)> bytes;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t i = 0; i < dims * kKvPageSlots; i += lanes) {
    const auto wide = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(bytes, from + i)));
    hn::StoreU(hn::Mul(wide, hn::LoadU(d, scales + i % kKvPageSlots)), d, to + i);
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
