#include "cpu/rms_norm.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rms_norm.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums of squares go into 16 lanes whatever the vector width is, and are added in one order, so
// that AVX2 and AVX-512 give the same bits.
constexpr size_t kLanes = 16;

inline float sum_lanes(const float* lanes) {
  float sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += lanes[i];
  return sum;
}

void scale_row(const float* x, const float* weight, float factor, int64_t n, float* out) {
  const hn::CappedTag<float, kLanes> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factors = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(d, x + i), factors), hn::LoadU(d, weight + i)), d,
               out + i);
  }
  for (; i < n; ++i) out[i] = (x[i] * factor) * weight[i];
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const hn::CappedTag<float, kLanes> d;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + static_cast<int64_t>(kLanes) <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; j += lanes) {
      const auto v = hn::LoadU(d, x + i + j);
      hn::Store(hn::MulAdd(v, v, hn::Load(d, sums + j)), d, sums + j);
    }
  }
  float squares = sum_lanes(sums);
  for (; i < n; ++i) squares += x[i] * x[i];
  // Not std::sqrt: an inline function of everybody's, compiled here, could end up in code for older
  // CPUs.
  scale_row(x, weight, 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps), n, out);
}

void add_rms_norm(float* residual, const float* delta, const float* weight, float eps, int64_t n,
                  float* out) {
  const hn::CappedTag<float, kLanes> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, residual + i), hn::LoadU(d, delta + i)), d, residual + i);
  }
  for (; i < n; ++i) residual[i] += delta[i];
  rms_norm(residual, weight, eps, n, out);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

RmsNormKernels rms_norm_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, rms_norm), BLOCK_ATTENTION_KERNEL(isa, add_rms_norm)};
}

}  // namespace block_attention
#endif
