// 2^x for softmax (compiled once per Highway target).
#if defined(BLOCK_ATTENTION_CPU_EXP2_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_EXP2_INL
#undef BLOCK_ATTENTION_CPU_EXP2_INL
#else
#define BLOCK_ATTENTION_CPU_EXP2_INL
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {

// 2^x for x <= 0, within 1 ulp; exactly 1 for 0, exactly 0 below -125 and for -inf; NaN stays NaN.
// 2^f on [-1/2, 1/2] is a minimax polynomial of degree 6 with p(0) = 1, relative error 4e-9.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> exp2_nonpositive(D d, hwy::HWY_NAMESPACE::Vec<D> x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  // Adding 1.5 * 2^23 rounds to an integer n, which stands in the low bits of the sum; with 127
  // more these are the exponent of 2^n. (Conversions to integers check for overflow: dearer.)
  const auto magic = hn::Set(d, 12582912.0f + 127.0f);
  const auto shifted = hn::Add(x, magic);
  const auto f = hn::Sub(x, hn::Sub(shifted, magic));
  auto p = hn::Set(d, 0.00015469731972029576f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.0013410000965924688f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.009618030782527848f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.055502973141999895f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022651084117086f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931472253950105f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -125.0f)), hn::Mul(p, power));
}

#if HWY_TARGET == HWY_AVX3
// The same for weights that are then rounded to bf16: relative error 3e-6, in half the
// instructions. 2^f on [0, 1] is a minimax polynomial of degree 4 with p(0) = 1.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> exp2_for_bf16(D d, hwy::HWY_NAMESPACE::Vec<D> x) {
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr int kFloor = 0x09;  // no digits behind the point are kept, no exceptions
  const hn::Vec<D> f{_mm512_reduce_ps(x.raw, kFloor)};
  auto p = hn::Set(d, 0.013426684289534615f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.05224247418757006f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.2412802047740392f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6930448448986962f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  return hn::Vec<D>{_mm512_scalef_ps(p.raw, x.raw)};
}
#endif

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
