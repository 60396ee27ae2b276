#include "cpu/swiglu.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/swiglu.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/swiglu-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void swiglu(const float* gate, const float* up, int64_t n, float* out) {
  const hn::CappedTag<float, 16> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(gated(d, hn::LoadU(d, gate + i), hn::LoadU(d, up + i)), d, out + i);
  }
  if (i == n) return;
  // The rest goes through the same vector code: an element's bits do not depend on where the row
  // ends.
  HWY_ALIGN float gates[16] = {};
  HWY_ALIGN float ups[16] = {};
  for (int64_t j = i; j < n; ++j) {
    gates[j - i] = gate[j];
    ups[j - i] = up[j];
  }
  hn::Store(gated(d, hn::Load(d, gates), hn::Load(d, ups)), d, gates);
  for (int64_t j = i; j < n; ++j) out[j] = gates[j - i];
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

SwigluKernels swiglu_kernels(Isa isa) { return {BLOCK_ATTENTION_KERNEL(isa, swiglu)}; }

}  // namespace block_attention
#endif
