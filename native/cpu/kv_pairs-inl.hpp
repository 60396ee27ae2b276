// Pages of keys and values as floats (compiled once per Highway target).
#if defined(BLOCK_ATTENTION_CPU_KV_PAIRS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_KV_PAIRS_INL
#undef BLOCK_ATTENTION_CPU_KV_PAIRS_INL
#else
#define BLOCK_ATTENTION_CPU_KV_PAIRS_INL
#endif

#include <cstdint>

#include "cpu/kv_layout.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {

// Elements of T that lie side by side in a page.
template <typename T>
inline constexpr int32_t kPair = kv_pair(sizeof(T) == 4 ? DType::kF32 : DType::kBF16);

// The elements number `part` of as many pairs as there are lanes, as float32.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_part(D d, const float* from, int32_t part) {
  static_cast<void>(part);
  return hwy::HWY_NAMESPACE::LoadU(d, from);
}
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_part(D d, const uint16_t* from, int32_t part) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> bits;
  const auto pairs = hn::LoadU(bits, reinterpret_cast<const uint32_t*>(from));
  return hn::BitCast(
      d, part == 0 ? hn::ShiftLeft<16>(pairs) : hn::And(pairs, hn::Set(bits, 0xffff0000u)));
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
