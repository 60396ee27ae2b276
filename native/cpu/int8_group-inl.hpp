// What groups of 64 floats are rounded by, of weights and of activations (compiled once per Highway
// target).
#if defined(BLOCK_ATTENTION_CPU_INT8_GROUP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_INT8_GROUP_INL
#undef BLOCK_ATTENTION_CPU_INT8_GROUP_INL
#else
#define BLOCK_ATTENTION_CPU_INT8_GROUP_INL
#endif

#include <cstdint>

#include "cpu/int8_format.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
constexpr auto kLanes = static_cast<int64_t>(hn::MaxLanes(D()));

constexpr uint32_t kInfinity = 0x7f800000u;
constexpr uint32_t kNaN = 0x7fc00000u;

// All lanes together: the bits of the greatest magnitude. As integers they are ordered as the
// numbers are, NaN above all.
HWY_INLINE VI most_of_group(const float* group) {
  const auto magnitudes = [&](int64_t i) HWY_ATTR {
    return hn::BitCast(DI(), hn::Abs(hn::LoadU(D(), group + i)));
  };
  auto most = magnitudes(0);
  for (int64_t i = kLanes; i < kInt8Group; i += kLanes) most = hn::Max(most, magnitudes(i));
  return most;
}

// Added to a float of less magnitude than 2^22 it leaves the nearest integer, halves to even, in
// the last bits: faster than conversions that mind numbers that are too large.
constexpr float kRounder = 0x1.8p23f;

HWY_INLINE V nearest(V v) {
  const auto rounder = hn::Set(D(), kRounder);
  return hn::Sub(hn::Add(v, rounder), rounder);
}

HWY_INLINE VI nearest_int(V v) {
#if HWY_TARGET == HWY_AVX3
  return VI{_mm512_cvtps_epi32(v.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI{_mm256_cvtps_epi32(v.raw)};
#else
  const auto rounder = hn::Set(D(), kRounder);
  return hn::Sub(hn::BitCast(DI(), hn::Add(v, rounder)), hn::BitCast(DI(), rounder));
#endif
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
