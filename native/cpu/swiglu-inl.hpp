// SwiGLU of vectors (compiled once per Highway target).
#if defined(BLOCK_ATTENTION_CPU_SWIGLU_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_SWIGLU_INL
#undef BLOCK_ATTENTION_CPU_SWIGLU_INL
#else
#define BLOCK_ATTENTION_CPU_SWIGLU_INL
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {

// With e = exp(-|g|) in (0, 1] nothing overflows: silu(g) = g / (1 + e) for g >= 0 and g * e / (1 +
// e) below.
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V gated(D d, V gate, V up) {
  namespace hn = hwy::HWY_NAMESPACE;
  const V one = hn::Set(d, 1.0f);
  const V e = hn::Exp(d, hn::Neg(hn::Abs(gate)));
  const V numerator = hn::IfThenElse(hn::Ge(gate, hn::Zero(d)), one, e);
  return hn::Mul(hn::Mul(gate, hn::Div(numerator, hn::Add(one, e))), up);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
