// The rotation of one head by RoPE, for every kernel that needs it (compiled once per Highway
// target).
#if defined(BLOCK_ATTENTION_CPU_ROTATE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_ROTATE_INL
#undef BLOCK_ATTENTION_CPU_ROTATE_INL
#else
#define BLOCK_ATTENTION_CPU_ROTATE_INL
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {

// scale * the rotated pairs (x1, x2), in place.
template <typename V>
HWY_INLINE void rotate_pairs(V& x1, V& x2, V cos, V sin, V scale) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V first = hn::NegMulAdd(x2, sin, hn::Mul(x1, cos));
  x2 = hn::Mul(scale, hn::MulAdd(x1, sin, hn::Mul(x2, cos)));
  x1 = hn::Mul(scale, first);
}

// The whole vectors of the rotation below: store(vector, dim). Returns how many of the first `half`
// dims that were.
template <typename Store>
HWY_INLINE int32_t rotate_vectors(const float* x, const float* rope, int32_t half, float scale,
                                  Store store) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> d;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d));
  int32_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    auto x1 = hn::LoadU(d, x + i);
    auto x2 = hn::LoadU(d, x + half + i);
    rotate_pairs(x1, x2, hn::LoadU(d, rope + i), hn::LoadU(d, rope + half + i), hn::Set(d, scale));
    store(x1, i);
    store(x2, half + i);
  }
  return i;
}

// out = scale * rotated x, x and out [head_dim], out may be x. The first 2 * half dims are rotated
// in half-split pairs (i, i + half) as in transformers' rotate_half; rope holds their cos, then
// their sin.
inline void rotate_head(const float* x, const float* rope, int32_t half, int32_t head_dim,
                        float scale, float* out) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::CappedTag<float, 16> d;
  int32_t i = rotate_vectors(x, rope, half, scale,
                             [&](hn::Vec<decltype(d)> vector, int32_t dim)
                                 HWY_ATTR { hn::StoreU(vector, d, out + dim); });
  for (; i < half; ++i) {
    const float x1 = x[i];
    const float x2 = x[half + i];
    out[i] = scale * __builtin_fmaf(-x2, rope[half + i], x1 * rope[i]);
    out[half + i] = scale * __builtin_fmaf(x1, rope[half + i], x2 * rope[i]);
  }
  for (i = 2 * half; i < head_dim; ++i) out[i] = scale * x[i];
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
