#include "cpu/amx_bf16_kernels.hpp"

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_bf16_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

// Four sums at once, of two groups of rows and two panels: a step then loads four tiles of 16 lines
// for four products, 32 cycles of the two load ports beside 64 of the multiplier. (One sum would
// load two tiles, 16 cycles beside 16, and wait for every product's 52 cycles.) With one group of
// rows 48 lines stand beside 32 cycles, which is faster than weights come from anywhere but the
// first-level cache; so single rows are products of tiles, too.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kColumns = 16;
using D = hn::CappedTag<float, kColumns>;
using V = hn::Vec<D>;

constexpr int64_t kMostRowGroups = 2;
constexpr int64_t kTilePairs = kAmxStepPairs * kColumns;  // of either side, and floats of a sum
static_assert(kTilePairs * 4 == amx::kTileBytes && kAmxGroupRows == amx::kTileRows);
static_assert(kSumBlock % kAmxStepPairs == 0);
static_assert(kAmxTilePanels <= kMaxWidePanels && kTilePairs <= kSumBlock * kColumns);
// Software prefetch of the weights, in the first pass over them: so many tiles ahead.
constexpr int64_t kAheadTiles = 3;

// A block of pairs: out (+)= x * panels.
struct Micro {
  const float* x[kMostRowGroups];
  int64_t rows[kMostRowGroups];
  float* out[kMostRowGroups];
  int64_t row_groups;
  const float* panels[kAmxTilePanels];
  // Whole tiles of weights; behind them a last one where the weight ends in part of one.
  int64_t steps;
  const float* last[kAmxTilePanels];
  bool prefetch;
  int64_t out_stride;
  bool add;           // to what earlier blocks left in out
  const float* bias;  // with the last block
};

// Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights.
template <int kRowGroups, int kPanels>
HWY_INLINE void multiply_step(const float* const (&x)[kMostRowGroups], const float* first,
                              const float* second) {
  amx::load<6>(first);
  if constexpr (kPanels > 1) amx::load<7>(second);
  amx::load<4>(x[0]);
  amx::multiply_bf16<0, 4, 6>();
  if constexpr (kPanels > 1) amx::multiply_bf16<1, 4, 7>();
  if constexpr (kRowGroups > 1) {
    amx::load<5>(x[1]);
    amx::multiply_bf16<2, 5, 6>();
    if constexpr (kPanels > 1) amx::multiply_bf16<3, 5, 7>();
  }
}

template <int kRowGroup, int kPanel>
HWY_INLINE void add_sums(const Micro& m) {
  const D d;
  HWY_ALIGN float sums[kAmxGroupRows][kColumns];
  amx::store<kRowGroup * kAmxTilePanels + kPanel>(sums);
  float* out = m.out[kRowGroup] + kPanel * kColumns;
  for (int64_t row = 0; row < m.rows[kRowGroup]; ++row) {
    V sum = hn::Load(d, sums[row]);
    if (m.add) sum = hn::Add(hn::LoadU(d, out), sum);
    if (m.bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, m.bias + kPanel * kColumns));
    hn::StoreU(sum, d, out);
    out += m.out_stride;
  }
}

template <int kRowGroups, int kPanels>
HWY_NOINLINE void micro(const Micro& m) {
  amx::zero<0>();
  amx::zero<1>();
  amx::zero<2>();
  amx::zero<3>();
  const float* x[kMostRowGroups] = {m.x[0], m.x[1]};
  const auto next_inputs = [&]() HWY_ATTR {
    for (int i = 0; i < kRowGroups; ++i) x[i] += m.rows[i] * kAmxStepPairs;
  };
  for (int64_t step = 0; step < m.steps; ++step) {
    const float* weights[kAmxTilePanels] = {};
    for (int j = 0; j < kPanels; ++j) {
      weights[j] = m.panels[j] + step * kTilePairs;
      for (int64_t i = 0; m.prefetch && i < kTilePairs; i += kColumns)
        __builtin_prefetch(weights[j] + kAheadTiles * kTilePairs + i, 0, 3);
    }
    multiply_step<kRowGroups, kPanels>(x, weights[0], weights[1]);
    next_inputs();
  }
  if (m.last[0] != nullptr) multiply_step<kRowGroups, kPanels>(x, m.last[0], m.last[1]);
  add_sums<0, 0>(m);
  if constexpr (kPanels > 1) add_sums<0, 1>(m);
  if constexpr (kRowGroups > 1) {
    add_sums<1, 0>(m);
    if constexpr (kPanels > 1) add_sums<1, 1>(m);
  }
}

// The block of pairs that begins at `first` of `panels` panels from `panel` on.
void block(const LinearTile& t, int64_t panel, int64_t panels, int64_t first, float* out,
           int64_t out_stride) {
  const int64_t left = t.steps - first;
  const int64_t pairs = left < kSumBlock ? left : kSumBlock;
  const int64_t ragged = pairs % kAmxStepPairs;
  Micro m{};
  m.steps = pairs / kAmxStepPairs;
  m.out_stride = out_stride;
  m.add = first != 0;
  m.bias = t.bias != nullptr && pairs == left ? t.bias + panel * kColumns : nullptr;
  for (int64_t j = 0; j < panels; ++j) {
    m.panels[j] = static_cast<const float*>(t.panels) + ((panel + j) * t.steps + first) * kColumns;
    if (ragged == 0) continue;
    float* last = t.wide + j * kTilePairs;
    __builtin_memset(last, 0, amx::kTileBytes);
    __builtin_memcpy(last, m.panels[j] + m.steps * kTilePairs,
                     static_cast<size_t>(ragged * kColumns) * sizeof(float));
    m.last[j] = last;
  }
  const int64_t padded = amx_padded_pairs(t.steps);
  const int64_t first_row = group_begin(t.rows, t.groups, t.part.row_group_from);
  for (int64_t group = t.part.row_group_from; group < t.part.row_group_to; group += m.row_groups) {
    m.prefetch = group == t.part.row_group_from;
    m.row_groups = 0;
    while (m.row_groups < kMostRowGroups && group + m.row_groups < t.part.row_group_to) {
      const int64_t row = group_begin(t.rows, t.groups, group + m.row_groups);
      const int64_t rows = group_begin(t.rows, t.groups, group + m.row_groups + 1) - row;
      m.rows[m.row_groups] = rows;
      m.x[m.row_groups] = t.x + row * padded + first * rows;
      m.out[m.row_groups++] = out + (row - first_row) * out_stride;
    }
    if (m.row_groups > 1) {
      panels > 1 ? micro<2, 2>(m) : micro<2, 1>(m);
    } else {
      panels > 1 ? micro<1, 2>(m) : micro<1, 1>(m);
    }
  }
}

}  // namespace

void amx_bf16_tile(const LinearTile& t) {
  const amx::Tiles tiles;
  const int64_t first_row = group_begin(t.rows, t.groups, t.part.row_group_from);
  const int64_t rows = group_begin(t.rows, t.groups, t.part.row_group_to) - first_row;
  // The last panel goes alone if it is ragged.
  const int64_t whole = t.out_features / kColumns;
  float* out = t.out + (first_row - t.origin.row) * t.out_stride;
  const auto panels_at = [&](int64_t panel) {
    return panel + kAmxTilePanels <= (t.part.panel_to < whole ? t.part.panel_to : whole)
               ? kAmxTilePanels
               : int64_t{1};
  };
  const auto block_at = [&](int64_t panel, int64_t first) {
    if (panel == whole) return block(t, panel, 1, first, t.ragged, kColumns);
    block(t, panel, panels_at(panel), first, out + (panel - t.origin.panel) * kColumns,
          t.out_stride);
  };
  if (t.part.row_group_to - t.part.row_group_from <= kMostRowGroups) {
    // One pass over the weights: a panel from end to end, as it lies in memory.
    for (int64_t panel = t.part.panel_from; panel < t.part.panel_to; panel += panels_at(panel)) {
      for (int64_t first = 0; first < t.steps; first += kSumBlock) block_at(panel, first);
    }
  } else {
    // A block of inputs of all panels, since that much of the activations stays in the second-level
    // cache.
    for (int64_t first = 0; first < t.steps; first += kSumBlock) {
      for (int64_t panel = t.part.panel_from; panel < t.part.panel_to; panel += panels_at(panel))
        block_at(panel, first);
    }
  }
  if (whole >= t.part.panel_from && whole < t.part.panel_to) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = whole * kColumns; j < t.out_features; ++j)
        out[i * t.out_stride + j] = t.ragged[i * kColumns + j - whole * kColumns];
    }
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace block_attention {

void (*amx_bf16_kernel())(const LinearTile& tile) {
#if defined(__x86_64__)
  return &N_AVX3::amx_bf16_tile;
#else
  return nullptr;
#endif
}

}  // namespace block_attention
#endif
