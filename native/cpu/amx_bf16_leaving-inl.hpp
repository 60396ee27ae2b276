// Sums of products of bf16 on their way from tiles to the output, through SwiGLU where the weight
// is [gate; up] (compiled for AVX-512 alone).
#if defined(BLOCK_ATTENTION_CPU_AMX_BF16_LEAVING_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_AMX_BF16_LEAVING_INL
#undef BLOCK_ATTENTION_CPU_AMX_BF16_LEAVING_INL
#else
#define BLOCK_ATTENTION_CPU_AMX_BF16_LEAVING_INL
#endif

#include <cstdint>

#include "cpu/amx_bf16_kernels.hpp"
#include "cpu/bf16_pairs-inl.hpp"
#include "cpu/swiglu-inl.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kColumns = kPanelColumns;
using D = hn::CappedTag<float, kColumns>;
using V = hn::Vec<D>;

constexpr int64_t kPanels = kAmxTilePanels;
// Groups of rows of a pass.
constexpr int64_t kRowGroups = 2;
// Of a row of sums: a panel behind the other.
constexpr int64_t kSumStride = kPanels * kColumns;

// Sums of a pass on their way to the output.
struct Leaving {
  HWY_ALIGN float sums[kRowGroups * kAmxGroupRows * kSumStride];
  HWY_ALIGN float unused[kColumns];

  int64_t rows = 0;  // that are left
  int64_t panels = 0;
  const float* from = nullptr;
  const float* block = nullptr;  // sums of the block before, if it is of this reach
  const float* bias[kPanels] = {};
  // Where sums of the reaches before lie; these go there, too, but for SwiGLU's.
  float* reaches = nullptr;
  int64_t reaches_stride = 0;
  bool first_reach = false;
  float* gated = nullptr;
  int64_t gated_stride = 0;
  // Packed: rows of the first group that are left, and where those of the second begin.
  int64_t first_rows = 0;
  float* second = nullptr;
  bool stream = false;
  void (*leave_rows)(Leaving& l, int64_t rows) = nullptr;
};

// How outputs leave: as sums or gated, through the caches or past them, or rounded to bf16 for the
// next product.
enum class Way : uint8_t { kSums, kSumsPast, kGated, kGatedPast, kGatedPacked };

// Puts `rows` rows where they belong. kPlain: of two panels, without a bias, and of the first
// reach; kBlock: added to those of the block before.
template <bool kPlain, bool kBlock, Way kWay>
void leave_rows(Leaving& l, int64_t rows) {
  constexpr bool kGated = kWay != Way::kSums && kWay != Way::kSumsPast;
  const D d;
  const int64_t panels = kPlain ? kPanels : l.panels;
  const int64_t block_stride = kBlock ? kSumStride : 0;
  const int64_t out_stride = kGated ? l.gated_stride : l.reaches_stride;
  const float* from = l.from;
  const float* block = l.block;
  float* reaches = l.reaches;
  float* out = kGated ? l.gated : l.reaches;
  for (int64_t row = 0; row < rows; ++row) {
    V values[kPanels];
    for (int64_t j = 0; j < panels; ++j) {
      const int64_t column = j * kColumns;
      V sum = hn::Load(d, from + column);
      if constexpr (kBlock) {
        V before = hn::Load(d, block + column);
        if (!kPlain && !l.first_reach) before = hn::Add(hn::LoadU(d, reaches + column), before);
        sum = hn::Add(before, sum);
      } else if (!kPlain && !l.first_reach) {
        sum = hn::Add(hn::LoadU(d, reaches + column), sum);
      }
      if (!kPlain && l.bias[j] != nullptr) sum = hn::Add(sum, hn::LoadU(d, l.bias[j]));
      values[j] = sum;
      if constexpr (kWay == Way::kSumsPast) hn::Stream(sum, d, out + column);
      if constexpr (kWay == Way::kSums) hn::StoreU(sum, d, out + column);
    }
    if constexpr (kGated) {
      const V value = gated(d, values[0], values[1]);
      if constexpr (kWay == Way::kGatedPast) hn::Stream(value, d, out);
      if constexpr (kWay == Way::kGated) hn::StoreU(value, d, out);
      if constexpr (kWay == Way::kGatedPacked) round_to_bf16(value, out);
    }
    from += kSumStride;
    block += block_stride;
    reaches += l.reaches_stride;
    out += out_stride;
    if (kWay == Way::kGatedPacked && --l.first_rows == 0) out = l.second;
  }
  l.from = from;
  if (kBlock) l.block = block;
  l.reaches = reaches;
  if (kGated) l.gated = out;
  l.rows -= rows;
}

template <bool kPlain, bool kBlock>
void (*leave_kind(Way way))(Leaving&, int64_t) {
  switch (way) {
    case Way::kSums:
      return &leave_rows<kPlain, kBlock, Way::kSums>;
    case Way::kSumsPast:
      return &leave_rows<kPlain, kBlock, Way::kSumsPast>;
    case Way::kGated:
      return &leave_rows<kPlain, kBlock, Way::kGated>;
    case Way::kGatedPast:
      return &leave_rows<kPlain, kBlock, Way::kGatedPast>;
    case Way::kGatedPacked:
      break;
  }
  return &leave_rows<kPlain, kBlock, Way::kGatedPacked>;
}

HWY_INLINE void leave(Leaving& l, int64_t rows) {
  if (l.rows > 0) l.leave_rows(l, rows < l.rows ? rows : l.rows);
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
