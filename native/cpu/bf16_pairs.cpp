#include "cpu/bf16_pairs.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/bf16_pairs.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/bf16_pairs-inl.hpp"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void round_row(const float* from, int64_t inputs, void* to) {
  const hn::CappedTag<float, 16> d;
  char* pairs = static_cast<char*>(to);
  const int64_t whole = inputs - inputs % 16;
  for (int64_t k = 0; k < whole; k += 16) round_to_bf16(hn::LoadU(d, from + k), pairs + 2 * k);
  if (whole == inputs) return;
  HWY_ALIGN float last[16] = {};
  for (int64_t k = whole; k < inputs; ++k) last[k - whole] = from[k];
  HWY_ALIGN char rounded[32];
  round_to_bf16(hn::Load(d, last), rounded);
  for (int64_t i = 0; i < 4 * bf16_pairs(inputs - whole); ++i) pairs[2 * whole + i] = rounded[i];
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace block_attention {

Bf16PairKernels bf16_pair_kernels() {
#if defined(__x86_64__)
  return {&N_AVX3::round_row};
#else
  return {nullptr};
#endif
}

}  // namespace block_attention
#endif
