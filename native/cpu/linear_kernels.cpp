#include "cpu/linear_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/bf16_pairs-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kColumns = 16;
using D = hn::CappedTag<float, kColumns>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = static_cast<int>(kColumns) / kLanes;  // per panel

// Registers for sums, the most rows of a group that is repacked, and the panels it takes at once.
#if HWY_TARGET == HWY_AVX3
constexpr int kAccumulators = 28;
constexpr int kGroupRows = 14;
constexpr int kGroupPanels = 2;
#elif HWY_TARGET == HWY_AVX2
constexpr int kAccumulators = 12;
constexpr int kGroupRows = 6;
constexpr int kGroupPanels = 1;
#elif HWY_TARGET == HWY_SCALAR
constexpr int kAccumulators = 64;
constexpr int kGroupRows = 4;
constexpr int kGroupPanels = 1;
#else
constexpr int kAccumulators = 24;
constexpr int kGroupRows = 6;
constexpr int kGroupPanels = 1;
#endif
static_assert(kGroupRows * kGroupPanels * kVectors <= kAccumulators &&
              kGroupPanels <= kMaxWidePanels);

constexpr int kDirectRows = 8;
constexpr int kDirectGroupRows = kGroupRows < kDirectRows ? kGroupRows : kDirectRows;
// Software prefetch: how far a single group looks ahead, and how many groups share out the next
// block.
constexpr int64_t kAheadBytes = 2048;
constexpr int64_t kMaxShares = 4;

// Panels computed at once for groups of `rows` rows. Few rows take several, so that there are
// enough independent sums to hide the latency of an addition and enough streams to keep memory
// busy.
constexpr int tile_width(int64_t rows, bool repacked) {
  if (repacked) return kGroupPanels;
  if (rows * 4 * kVectors <= (kAccumulators < 16 ? kAccumulators : 16)) return 4;
  return rows * 2 * kVectors <= kAccumulators ? 2 : 1;
}

HWY_INLINE V load_wide(const float* from) { return hn::LoadU(D(), from); }
template <typename T>
HWY_INLINE V load_wide(const T* from) {
  return hn::PromoteTo(D(), hn::LoadU(hn::Rebind<T, D>(), from));
}

template <typename T>
HWY_INLINE V multiply_add(V x, V weights, V sum) {
  return hn::MulAdd(x, weights, sum);
}

#if HWY_TARGET == HWY_AVX3
// Two inputs of a feature.
struct Bf16Pair {
  uint16_t inputs[2];
};
HWY_INLINE V load_wide(const Bf16Pair* from) {
  return hn::LoadU(D(), reinterpret_cast<const float*>(from));
}
template <>
HWY_INLINE V multiply_add<Bf16Pair>(V x, V weights, V sum) {
  return multiply_add_pairs(x, weights, sum);
}
#endif

template <typename T>
struct Micro {
  const float* x;
  int64_t x_stride;  // between rows, direct only
  const T* panels;
  int64_t panel_stride;
  int64_t steps;
  // What to bring into the cache meanwhile: per step one address in each of kPanels panels,
  // ahead_step bytes on.
  const char* ahead;
  int64_t ahead_step;
  int64_t ahead_stride;
  // After so many steps the addresses go on from here.
  int64_t ahead_turn;
  const char* ahead_then;
  float* wide;  // repacked 16-bit weights: the panels as float32, for the groups that follow
  float* out;
  int64_t out_stride;
  bool add;           // to what earlier blocks left in out
  const float* bias;  // with the last block
};

template <bool kRepacked>
HWY_INLINE void prefetch(const char* address) {
  // Repacked blocks are too large for the first level, whose space the widened panels need.
  __builtin_prefetch(address, 0, kRepacked ? 2 : 3);
}

// One block of steps: out[kRows, kPanels x 16] (+)= x[kRows, steps] * panels.
template <int kRows, int kPanels, bool kRepacked, typename T>
HWY_NOINLINE void micro(const Micro<T>& m) {
  constexpr int kWidth = kPanels * kVectors;
  constexpr bool kKeepWide = kRepacked && sizeof(T) == 2;
  const D d;
  V sums[kRows][kWidth];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(32)
    for (int j = 0; j < kWidth; ++j) sums[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT x = m.x;
  const T* HWY_RESTRICT panels = m.panels;
  float* HWY_RESTRICT wide = m.wide;
  const int64_t x_stride = m.x_stride;
  const int64_t panel_stride = m.panel_stride;
  const char* ahead = m.ahead;
  const int64_t ahead_step = m.ahead_step;
  const int64_t ahead_stride = m.ahead_stride;
  int64_t end = m.ahead_turn;
  for (int64_t k = 0;; ++k) {
    if (k == end) {
      if (end == m.steps) break;
      end = m.steps;
      ahead = m.ahead_then;
    }
    const auto load = [&](int panel, int vector) HWY_ATTR {
      const V w = load_wide(panels + panel * panel_stride + vector * kLanes);
      if (kKeepWide) hn::Store(w, d, wide + panel * kSumBlock * kColumns + vector * kLanes);
      return w;
    };
    const auto input = [&](int row)
                           HWY_ATTR { return hn::Set(d, kRepacked ? x[row] : x[row * x_stride]); };
    HWY_UNROLL(4)
    for (int p = 0; p < kPanels; ++p) prefetch<kRepacked>(ahead + p * ahead_stride);
    // The shorter side waits in registers for the longer one, each of whose values is needed once.
    if constexpr (kRows < kWidth) {
      V a[kRows];
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) a[i] = input(i);
      HWY_UNROLL(32)
      for (int j = 0; j < kWidth; ++j) {
        const V w = load(j / kVectors, j % kVectors);
        HWY_UNROLL(16)
        for (int i = 0; i < kRows; ++i) sums[i][j] = multiply_add<T>(a[i], w, sums[i][j]);
      }
    } else {
      V w[kWidth];
      HWY_UNROLL(32)
      for (int j = 0; j < kWidth; ++j) w[j] = load(j / kVectors, j % kVectors);
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        const V a = input(i);
        HWY_UNROLL(32)
        for (int j = 0; j < kWidth; ++j) sums[i][j] = multiply_add<T>(a, w[j], sums[i][j]);
      }
    }
    x += kRepacked ? kRows : 1;
    panels += kColumns;
    ahead += ahead_step;
    if (kKeepWide) wide += kColumns;
  }
  float* out = m.out;
  const int64_t out_stride = m.out_stride;
  const float* bias = m.bias;
  const bool add = m.add;
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(32)
    for (int j = 0; j < kWidth; ++j) {
      V sum = sums[i][j];
      if (add) sum = hn::Add(hn::LoadU(d, out + j * kLanes), sum);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + j * kLanes));
      hn::StoreU(sum, d, out + j * kLanes);
    }
    out += out_stride;
  }
}

template <int kRows, int kPanels, bool kRepacked, typename T>
void micro_of_rows(int64_t rows, const Micro<T>& m) {
  if constexpr (kPanels <= tile_width(kRows, kRepacked)) {
    if (rows == kRows) {
      micro<kRows, kPanels, kRepacked>(m);
      return;
    }
  }
  if constexpr (kRows > 1) micro_of_rows<kRows - 1, kPanels, kRepacked>(rows, m);
}

// The block at (panel, step) of kPanels panels; (next_panel, next_step) is the one that follows.
struct BlockAt {
  int64_t panel;
  int64_t step;
  int64_t next_panel;
  int64_t next_step;
};

template <int kPanels, bool kRepacked, typename T>
void block_of_panels(const LinearTile& t, const BlockAt& at, float* out, int64_t out_stride) {
  const int64_t left = t.steps - at.step;
  const T* weight = static_cast<const T*>(t.panels);
  const int64_t groups = t.part.row_group_to - t.part.row_group_from;
  Micro<T> m;
  m.x_stride = t.x_stride;
  m.panel_stride = t.steps * kColumns;
  m.panels = weight + at.panel * m.panel_stride + at.step * kColumns;
  m.steps = left < kSumBlock ? left : kSumBlock;
  m.ahead_stride = m.panel_stride * static_cast<int64_t>(sizeof(T));
  m.ahead_turn = m.steps;
  m.ahead_then = nullptr;
  m.wide = t.wide;
  m.out_stride = out_stride;
  m.add = at.step != 0;
  m.bias = t.bias != nullptr && m.steps == left ? t.bias + at.panel * kColumns : nullptr;

  // A single group waits for memory itself, so it looks a little ahead. Several groups share out
  // the whole next block.
  constexpr int64_t kStepBytes = kColumns * static_cast<int64_t>(sizeof(T));
  const int64_t shares = groups < kMaxShares ? groups : kMaxShares;
  m.ahead_step = kStepBytes / shares;
  const char* next = reinterpret_cast<const char*>(weight + at.next_panel * m.panel_stride +
                                                   at.next_step * kColumns);
  const int64_t share = m.steps * m.ahead_step;

  const int64_t first_row = group_begin(t.rows, t.groups, t.part.row_group_from);
  int64_t row = first_row;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t end = group_begin(t.rows, t.groups, t.part.row_group_from + group + 1);
    m.out = out + (row - first_row) * out_stride;
    m.ahead = next + group * share;
    if (groups == 1) {
      const int64_t turn = m.steps - kAheadBytes / kStepBytes;
      m.ahead = reinterpret_cast<const char*>(m.panels) + kAheadBytes;
      m.ahead_turn = turn > 0 ? turn : 0;
      m.ahead_then = next - (turn < 0 ? turn * kStepBytes : 0);
    }
    if (group >= shares) m.ahead_step = 0;
    if constexpr (!kRepacked) {
      m.x = t.x + row * t.x_stride + at.step;
      micro_of_rows<kDirectGroupRows, kPanels, false>(end - row, m);
    } else {
      m.x = t.x + t.rows * at.step + row * m.steps;
      if (sizeof(T) == 2 && group != 0) {
        const Micro<float> again{m.x,          0,       t.wide,       kSumBlock * kColumns,
                                 m.steps,      m.ahead, m.ahead_step, m.ahead_stride,
                                 m.steps,      nullptr, nullptr,      m.out,
                                 m.out_stride, m.add,   m.bias};
        micro_of_rows<kGroupRows, kPanels, true>(end - row, again);
      } else {
        micro_of_rows<kGroupRows, kPanels, true>(end - row, m);
      }
    }
    row = end;
  }
}

template <bool kRepacked, typename T>
void block(int64_t panels, const LinearTile& t, const BlockAt& at, float* out, int64_t out_stride) {
  if constexpr (!kRepacked) {
    if (panels == 4) return block_of_panels<4, kRepacked, T>(t, at, out, out_stride);
  }
  if (panels == 2) return block_of_panels<2, kRepacked, T>(t, at, out, out_stride);
  return block_of_panels<1, kRepacked, T>(t, at, out, out_stride);
}

// How many panels to take at `panel`: the ragged last one goes alone.
HWY_INLINE int64_t take(const LinearTile& t, int64_t width, int64_t panel) {
  const int64_t whole = t.out_features / kColumns;
  const int64_t left = (t.part.panel_to < whole ? t.part.panel_to : whole) - panel;
  while (width > 1 && width > left) width /= 2;
  return width;
}

template <bool kRepacked, typename T>
void tile_of_type(const LinearTile& t) {
  const int64_t first_row = group_begin(t.rows, t.groups, t.part.row_group_from);
  const int64_t rows = group_begin(t.rows, t.groups, t.part.row_group_to) - first_row;
  const int64_t groups = t.part.row_group_to - t.part.row_group_from;
  const int64_t width = tile_width((rows + groups - 1) / groups, kRepacked);
  const int64_t ragged = t.out_features % kColumns == 0 ? -1 : t.out_features / kColumns;
  float* out = t.out + first_row * t.out_stride;
  // Few rows: a panel from end to end, as it lies in memory. Many: a block of steps of all panels,
  // since that much of the activations stays in the second-level cache.
  BlockAt at{t.part.panel_from, 0, 0, 0};
  while (at.panel < t.part.panel_to) {
    const int64_t panels = take(t, width, at.panel);
    at.next_panel = at.panel;
    at.next_step = at.step;
    if (kRepacked) {
      at.next_panel += panels;
      if (at.next_panel == t.part.panel_to) {
        // Behind the last block: where this worker's next part most likely begins.
        const bool last = at.step + kSumBlock >= t.steps;
        at.next_panel = last ? t.part.panel_to : t.part.panel_from;
        at.next_step = last ? 0 : at.step + kSumBlock;
      }
    } else {
      at.next_step += kSumBlock;
      if (at.next_step >= t.steps) {
        at.next_panel += panels;
        at.next_step = 0;
      }
    }
    if (at.panel == ragged) {
      block<kRepacked, T>(1, t, at, t.ragged, kColumns);
    } else {
      block<kRepacked, T>(panels, t, at, out + at.panel * kColumns, t.out_stride);
    }
    at.panel = at.next_panel;
    at.step = at.next_step;
  }
  if (ragged >= t.part.panel_from && ragged < t.part.panel_to) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = ragged * kColumns; j < t.out_features; ++j) {
        out[i * t.out_stride + j] = t.ragged[i * kColumns + j - ragged * kColumns];
      }
    }
  }
}

template <bool kRepacked>
HWY_INLINE void tile(const LinearTile& t) {
  switch (t.format) {
    case LinearFormat::kF32:
      return tile_of_type<kRepacked, float>(t);
    case LinearFormat::kBF16:
      return tile_of_type<kRepacked, hwy::bfloat16_t>(t);
    case LinearFormat::kF16:
      return tile_of_type<kRepacked, hwy::float16_t>(t);
    case LinearFormat::kBF16Pairs:
#if HWY_TARGET == HWY_AVX3
      return tile_of_type<kRepacked, Bf16Pair>(t);
#else
      return;  // packed for another instruction set
#endif
  }
}

void linear_direct(const LinearTile& t) { tile<false>(t); }
void linear_repacked(const LinearTile& t) { tile<true>(t); }

int64_t linear_group_rows() { return kGroupRows; }
int64_t linear_tile_panels(int64_t rows) {
  if (rows > kDirectRows) return kGroupPanels;
  const int64_t groups = (rows + kGroupRows - 1) / kGroupRows;
  return tile_width((rows + groups - 1) / groups, false);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

LinearKernels linear_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, linear_group_rows)(), HWY_NAMESPACE::kDirectRows,
          BLOCK_ATTENTION_KERNEL(isa, linear_tile_panels),
          BLOCK_ATTENTION_KERNEL(isa, linear_direct), BLOCK_ATTENTION_KERNEL(isa, linear_repacked)};
}

}  // namespace block_attention
#endif
