// Products of bfloat16 by the instructions of Isa::kAvx512Bf16 (compiled for AVX-512 alone). A lane
// holds a pair, two inputs side by side, the first in the lower half; vectors of pairs are carried
// as vectors of float.
//
// Written as assembly, since the instructions are no part of what the target is compiled for.
#if defined(BLOCK_ATTENTION_CPU_BF16_PAIRS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_BF16_PAIRS_INL
#undef BLOCK_ATTENTION_CPU_BF16_PAIRS_INL
#else
#define BLOCK_ATTENTION_CPU_BF16_PAIRS_INL
#endif

#include <cstdint>

#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using PairVector = hn::Vec<hn::CappedTag<float, 16>>;

// Lane by lane: fma(a of the first, b of the first, fma(a of the second, b of the second, sum)),
// each rounded to nearest even; subnormal numbers count as zero.
HWY_INLINE PairVector multiply_add_pairs(PairVector a, PairVector b, PairVector sum) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
}

// 16 values, rounded to nearest even; a NaN stays one, and subnormal numbers become zero.
HWY_INLINE void round_to_bf16(PairVector from, void* to) {
  __m256i rounded;
  asm("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(from.raw));
  _mm256_storeu_si256(static_cast<__m256i_u*>(to), rounded);
}

// The same for two vectors, which lie one after the other in memory.
HWY_INLINE void round_two_to_bf16(PairVector first, PairVector second, void* to) {
  __m512i rounded;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(rounded) : "v"(first.raw), "v"(second.raw));
  _mm512_storeu_si512(to, rounded);
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
