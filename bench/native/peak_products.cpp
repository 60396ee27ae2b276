#include "peak_products.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peak_products.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/bf16_pairs-inl.hpp"
#include "cpu/int8_format.hpp"
#include "peak_tiles.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;

// Enough independent sums to hide the latency of two units, few enough for 16 registers.
constexpr int kSums = 12;
constexpr int kUnroll = 8;

template <class Tag, typename Add>
HWY_INLINE float run_products(Tag d, int64_t rounds, Add add) {
  hn::Vec<Tag> sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(d, static_cast<hn::TFromD<Tag>>(i));
  for (int64_t round = 0; round < rounds; ++round) {
    HWY_UNROLL(8)
    for (int u = 0; u < kUnroll; ++u) {
      HWY_UNROLL(12)
      for (int i = 0; i < kSums; ++i) add(sums[i]);
    }
  }
  auto sum = hn::Zero(d);
  for (int i = 0; i < kSums; ++i) sum = hn::Add(sum, sums[i]);
  return static_cast<float>(hn::GetLane(sum));
}

float run_f32(int64_t rounds) {
  const D d;
  const auto factor = hn::Set(d, 0.5f);
  const auto addend = hn::Set(d, 1.0f);
  return run_products(d, rounds,
                      [&](auto& sum) HWY_ATTR { sum = hn::MulAdd(sum, factor, addend); });
}

#if HWY_TARGET == HWY_AVX3
float run_bf16(int64_t rounds) {
  const D d;
  const auto factor = hn::BitCast(d, hn::Set(DI(), 0x3f803f80));
  return run_products(d, rounds,
                      [&](auto& sum) HWY_ATTR { sum = multiply_add_pairs(factor, factor, sum); });
}
#endif

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
float run_int8_quads(int64_t rounds) {
  const auto factor = hn::Set(DI(), 0x01010101);
  return run_products(DI(), rounds, [&](auto& sum) HWY_ATTR {
#if HWY_TARGET == HWY_AVX3
    asm("vpdpbusd %1, %1, %0" : "+v"(sum.raw) : "v"(factor.raw));
#else
    asm("%{vex%} vpdpbusd %1, %1, %0" : "+x"(sum.raw) : "x"(factor.raw));
#endif
  });
}
#endif

float run_int8_pairs(int64_t rounds) {
  const auto factor = hn::Set(DI(), 0x00010001);
  return run_products(DI(), rounds, [&](auto& sum) HWY_ATTR {
#if HWY_TARGET == HWY_AVX3
    sum.raw = _mm512_add_epi32(sum.raw, _mm512_madd_epi16(sum.raw, factor.raw));
#elif HWY_TARGET == HWY_AVX2
    sum.raw = _mm256_add_epi32(sum.raw, _mm256_madd_epi16(sum.raw, factor.raw));
#else
    sum = hn::Add(sum, hn::Mul(sum, factor));
#endif
  });
}

// Of one input to an instruction and lane.
double products_per_round() { return 2.0 * kSums * kUnroll * static_cast<double>(hn::Lanes(D())); }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

PeakProducts peak_products(Isa isa, Product product) {
  const double single = (*BLOCK_ATTENTION_KERNEL(isa, products_per_round))();
#if defined(__x86_64__)
  if (product == Product::kBF16 && isa == Isa::kAmxBf16)
    return {&run_bf16_tiles, kBf16TileFlops, true};
  if (product == Product::kBF16 && has_bf16_dots(isa)) return {&N_AVX3::run_bf16, 2 * single};
  if (product == Product::kInt8 && isa != Isa::kPortable) {
    const Int8Dot dot = best_int8_dot(isa);
    if (dot == Int8Dot::kAmx) return {&run_int8_tiles, kInt8TileFlops, true};
    if (dot == Int8Dot::kQuads)
      return {has_avx512(isa) ? &N_AVX3::run_int8_quads : &N_AVX2::run_int8_quads, 4 * single};
    return {BLOCK_ATTENTION_KERNEL(isa, run_int8_pairs), 2 * single};
  }
#endif
  if (product == Product::kInt8) return {BLOCK_ATTENTION_KERNEL(isa, run_int8_pairs), single};
  return {BLOCK_ATTENTION_KERNEL(isa, run_f32), single};
}

}  // namespace block_attention
#endif
