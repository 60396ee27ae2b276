#include "peak_fma.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "peak_fma.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;

// Enough chains for two units with a latency of five cycles, few enough for 16 registers.
constexpr int kChains = 12;

float multiply_add(int64_t steps) {
  const D d;
  hn::Vec<D> sums[kChains];
  HWY_UNROLL(12)
  for (int i = 0; i < kChains; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  // The values stay finite and normal: x = 0.5 x + 1 tends to 2.
  const auto half = hn::Set(d, 0.5f);
  const auto one = hn::Set(d, 1.0f);
  for (int64_t step = 0; step < steps; ++step) {
    HWY_UNROLL(12)
    for (int i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(sums[i], half, one);
  }
  auto sum = hn::Zero(d);
  for (int i = 0; i < kChains; ++i) sum = hn::Add(sum, sums[i]);
  return hn::GetLane(sum);
}

int64_t flops_per_step() { return int64_t{2} * kChains * static_cast<int64_t>(hn::MaxLanes(D())); }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

PeakFma peak_fma(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, multiply_add),
          (*BLOCK_ATTENTION_KERNEL(isa, flops_per_step))()};
}

}  // namespace block_attention
#endif
