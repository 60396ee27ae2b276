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

// 2^(i / 32), rounded.
HWY_ALIGN inline constexpr float kExp2OfParts[32] = {
    1.0f,        1.0218972f,  1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f,  1.13878858f,
    1.1637249f,  1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f,
    1.35425556f, 1.38390994f, 1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f,
    1.5759809f,  1.61049032f, 1.64575553f, 1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f,
    1.8340081f,  1.87416768f, 1.91520655f, 1.95714414f,
};

// The same near products of tiles, which slow multiply-adds more than anything else: relative error
// 4e-5. 2^x is 2^(i / 32) of a table, times 1 + c * f, which is minimax on [0, 1/32] with 1 for 0.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> exp2_beside_tiles(D d, hwy::HWY_NAMESPACE::Vec<D> x) {
  namespace hn = hwy::HWY_NAMESPACE;
  // Adding 1.5 * 2^18 leaves five digits behind the point: i stands in the low bits of the sum.
  const auto magic = hn::Set(d, 393216.0f);
  const __m512 floor =
      _mm512_add_round_ps(x.raw, magic.raw, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  constexpr int kFloorOfParts = 0x59;  // five digits are kept
  const hn::Vec<D> f{_mm512_reduce_ps(x.raw, kFloorOfParts)};
  const hn::Vec<D> parts{_mm512_permutex2var_ps(hn::Load(d, kExp2OfParts).raw,
                                                _mm512_castps_si512(floor),
                                                hn::Load(d, kExp2OfParts + 16).raw)};
  const auto p = hn::Mul(parts, hn::MulAdd(f, hn::Set(d, 0.699397206f), hn::Set(d, 1.0f)));
  return hn::Vec<D>{_mm512_scalef_ps(p.raw, x.raw)};
}
#endif

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
