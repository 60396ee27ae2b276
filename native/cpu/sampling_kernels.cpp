#include "cpu/sampling_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/sampling_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include <bit>

#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As in rms_norm: 16 lanes whatever the vector width is, added in one order.
constexpr size_t kLanes = 16;
constexpr int64_t kStep = kLanes;
constexpr float kMinusInfinity = -__builtin_inff();

Peak peak(const float* x, int64_t n) {
  const hn::CappedTag<float, kLanes> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  constexpr int64_t kBlock = 1024;
  Peak best = {kMinusInfinity, 0};
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = n - begin < kBlock ? n : begin + kBlock;
    auto max0 = hn::Set(d, best.value);
    auto max1 = max0;
    int64_t i = begin;
    // Compare and select, not Max: a NaN must lose on every instruction set.
    for (; i + 2 * lanes <= end; i += 2 * lanes) {
      const auto x0 = hn::LoadU(d, x + i);
      const auto x1 = hn::LoadU(d, x + i + lanes);
      max0 = hn::IfThenElse(hn::Gt(x0, max0), x0, max0);
      max1 = hn::IfThenElse(hn::Gt(x1, max1), x1, max1);
    }
    // Not MaxOfLanes, which on some targets never gives less than the lowest finite number.
    HWY_ALIGN float lanes_max[kLanes];
    hn::Store(hn::Max(max0, max1), d, lanes_max);
    float value = lanes_max[0];
    for (int64_t j = 1; j < lanes; ++j) value = lanes_max[j] > value ? lanes_max[j] : value;
    for (; i < end; ++i) value = x[i] > value ? x[i] : value;
    if (!(value > best.value)) continue;
    int64_t index = begin;
    while (!(x[index] == value)) ++index;
    best = {value, static_cast<int32_t>(index)};
  }
  return best;
}

// The weights of one vector of logits; NaN fails the comparison.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V weights_of(D d, V x, V max, V temperature, V threshold) {
  const auto kept = hn::Ge(x, threshold);
  if (hn::AllFalse(d, kept)) return hn::Zero(d);
  return hn::IfThenElseZero(kept, hn::Exp(d, hn::Div(hn::Sub(x, max), temperature)));
}

void weights(const float* x, int64_t n, WeightScale scale, float threshold, float* out) {
  const hn::CappedTag<float, kLanes> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto max = hn::Set(d, scale.max);
  const auto temperature = hn::Set(d, scale.temperature);
  const auto limit = hn::Set(d, threshold);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(weights_of(d, hn::LoadU(d, x + i), max, temperature, limit), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN float rest[kLanes] = {};
  for (int64_t j = i; j < n; ++j) rest[j - i] = x[j];
  hn::Store(weights_of(d, hn::Load(d, rest), max, temperature, limit), d, rest);
  for (int64_t j = i; j < n; ++j) out[j] = rest[j - i];
}

double sum_weights(const float* x, int64_t n, WeightScale scale, float threshold) {
  const hn::CappedTag<float, kLanes> d;
  const size_t lanes = hn::Lanes(d);
  const auto max = hn::Set(d, scale.max);
  const auto temperature = hn::Set(d, scale.temperature);
  const auto limit = hn::Set(d, threshold);
  HWY_ALIGN float sums[kLanes] = {};
  HWY_ALIGN float rest[kLanes];
  for (int64_t i = 0; i < n; i += kStep) {
    const float* from = x + i;
    if (n - i < kStep) {
      for (int64_t j = 0; j < kStep; ++j) rest[j] = i + j < n ? x[i + j] : kMinusInfinity;
      from = rest;
    }
    for (size_t j = 0; j < kLanes; j += lanes) {
      const auto w = weights_of(d, hn::LoadU(d, from + j), max, temperature, limit);
      hn::Store(hn::Add(hn::Load(d, sums + j), w), d, sums + j);
    }
  }
  double sum = 0;
  for (size_t j = 0; j < kLanes; ++j) sum += static_cast<double>(sums[j]);
  return sum;
}

// The bits of a float as an unsigned number in the order of the floats; -0 counts as 0.
HWY_INLINE uint64_t rank_key(float logit, int32_t id) {
  uint32_t bits;
  hwy::CopySameSize(&logit, &bits);
  if (logit == 0.0f) bits = 0;
  const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return (uint64_t{ordered} << 32) | ~static_cast<uint32_t>(id);
}

size_t collect(const float* x, int64_t n, int32_t first_id, float threshold, uint64_t* keys) {
  const hn::CappedTag<float, kLanes> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto limit = hn::Set(d, threshold);
  size_t count = 0;
  int64_t i = 0;
  for (; i < n; i += lanes) {
    const bool whole = i + lanes <= n;
    if (whole && hn::AllFalse(d, hn::Ge(hn::LoadU(d, x + i), limit))) continue;
    const int64_t end = whole ? i + lanes : n;
    for (int64_t j = i; j < end; ++j) {
      keys[count] = rank_key(x[j], first_id + static_cast<int32_t>(j));
      count += x[j] >= threshold ? 1 : 0;
    }
  }
  return count;
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

SamplingKernels sampling_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, peak), BLOCK_ATTENTION_KERNEL(isa, sum_weights),
          BLOCK_ATTENTION_KERNEL(isa, weights), BLOCK_ATTENTION_KERNEL(isa, collect)};
}

float rank_key_logit(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  return std::bit_cast<float>((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}

}  // namespace block_attention
#endif
