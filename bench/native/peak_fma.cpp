#include "peak_fma.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peak_fma.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Enough independent sums to hide the latency of two units, few enough for 16 registers.
constexpr int kSums = 12;
constexpr int kUnroll = 8;

float run_fma(int64_t rounds) {
  const hn::CappedTag<float, 16> d;
  hn::Vec<decltype(d)> sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  const auto factor = hn::Set(d, 0.5f);
  const auto addend = hn::Set(d, 1.0f);
  for (int64_t round = 0; round < rounds; ++round) {
    for (int u = 0; u < kUnroll; ++u) {
      for (int i = 0; i < kSums; ++i) sums[i] = hn::MulAdd(sums[i], factor, addend);
    }
  }
  auto sum = hn::Zero(d);
  for (int i = 0; i < kSums; ++i) sum = hn::Add(sum, sums[i]);
  return hn::GetLane(sum);
}

double flops_per_round() {
  return 2.0 * kSums * kUnroll * static_cast<double>(hn::Lanes(hn::CappedTag<float, 16>()));
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

PeakFma peak_fma(Isa isa) { return BLOCK_ATTENTION_KERNEL(isa, run_fma); }
double fma_flops_per_round(Isa isa) { return (*BLOCK_ATTENTION_KERNEL(isa, flops_per_round))(); }

}  // namespace block_attention
#endif
