#include "cpu/linear_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/linear_micro-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kDirectRows = 8;
constexpr int kDirectGroupRows = kGroupRows < kDirectRows ? kGroupRows : kDirectRows;
// Software prefetch: how far a single group looks ahead, and how many groups share out the next
// block.
constexpr int64_t kAheadBytes = 2048;
constexpr int64_t kMaxShares = 4;

// Panels computed at once for groups of `rows` rows. Few rows take several, so that there are
// enough independent sums to hide the latency of an addition; one row no more than that, since
// memory keeps up best with few streams.
constexpr int tile_width(int64_t rows, bool repacked) {
  if (repacked) return kGroupPanels;
  if (rows == 1 && kVectors == 1) return 2;
  if (rows * 4 * kVectors <= (kAccumulators < 16 ? kAccumulators : 16)) return 4;
  return rows * 2 * kVectors <= kAccumulators ? 2 : 1;
}

// Most rows that a kernel of T takes.
template <typename T>
constexpr int kMostRows = kGroupRows;
#if HWY_TARGET == HWY_AVX3
template <>
constexpr int kMostRows<Bf16TilePair> = kOrderOfTilesRows;
#endif

template <int kRows, int kPanels, bool kRepacked, typename T>
void micro_of_rows(int64_t rows, const Micro<T>& m) {
  if constexpr (kRows <= kMostRows<T> && kPanels <= tile_width(kRows, kRepacked)) {
    if (rows == kRows) {
      micro<kRows, kPanels, kRepacked>(m);
      return;
    }
  }
  if constexpr (kRows > 1) micro_of_rows<kRows - 1, kPanels, kRepacked>(rows, m);
}

// The block at (panel, step) of kPanels panels that lie `apart` from each other; (next_panel,
// next_step) is the one that follows.
struct BlockAt {
  int64_t panel;
  int64_t apart;
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
  const int64_t panel_size = t.steps * kColumns;
  m.panel_stride = at.apart * panel_size;
  m.panels = weight + at.panel * panel_size + at.step * kColumns;
  m.steps = left < kSumBlock ? left : kSumBlock;
  m.ahead_stride = m.panel_stride * static_cast<int64_t>(sizeof(T));
  m.ahead_turn = m.steps;
  m.ahead_then = nullptr;
  m.wide = t.wide;
  m.out_stride = out_stride;
  m.out_apart = at.apart * kColumns;
  m.add = at.step != 0;
  m.bias = t.bias != nullptr && m.steps == left ? t.bias + at.panel * kColumns : nullptr;

  // A single group waits for memory itself, so it looks a little ahead. Several groups share out
  // the whole next block.
  constexpr int64_t kStepBytes = kColumns * static_cast<int64_t>(sizeof(T));
  const int64_t shares = groups < kMaxShares ? groups : kMaxShares;
  m.ahead_step = kStepBytes / shares;
  const char* next =
      reinterpret_cast<const char*>(weight + at.next_panel * panel_size + at.next_step * kColumns);
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
        const Micro<float> again{m.x,          0,           t.wide,       kSumBlock * kColumns,
                                 m.steps,      m.ahead,     m.ahead_step, m.ahead_stride,
                                 m.steps,      nullptr,     nullptr,      m.out,
                                 m.out_stride, m.out_apart, m.add,        m.bias};
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

// A part's panels are numbered in the order in which they are computed. Where a tile has runs:
// panel 0 of `width` runs that lie behind each other, then panel 1 of them, and so on; what is left
// behind the last whole runs comes as it lies in memory.
class PanelOrder {
 public:
  PanelOrder(const LinearTile& t, int64_t width)
      : width_(width), run_(t.run), whole_(t.out_features / kColumns), end_(t.part.panel_to) {
    in_runs_ = run_ == 0 ? 0 : whole_ / (width * run_) * (width * run_);
  }

  int64_t panel(int64_t number) const {
    if (number >= in_runs_) return number;
    const int64_t runs = width_ * run_;
    return number / runs * runs + number % runs / width_;
  }
  int64_t apart(int64_t number) const { return number < in_runs_ ? run_ : 1; }
  // How many to take at once: the ragged last one goes alone.
  int64_t take(int64_t number) const {
    if (number < in_runs_) return width_;
    const int64_t left = (end_ < whole_ ? end_ : whole_) - number;
    int64_t width = width_;
    while (width > 1 && width > left) width /= 2;
    return width;
  }

 private:
  int64_t width_;
  int64_t run_;
  int64_t whole_;
  int64_t end_;
  int64_t in_runs_;
};

template <bool kRepacked, typename T>
void tile_of_type(const LinearTile& t) {
  const int64_t first_row = group_begin(t.rows, t.groups, t.part.row_group_from);
  const int64_t rows = group_begin(t.rows, t.groups, t.part.row_group_to) - first_row;
  const int64_t groups = t.part.row_group_to - t.part.row_group_from;
  const PanelOrder order(t, tile_width((rows + groups - 1) / groups, kRepacked));
  const int64_t ragged = t.out_features % kColumns == 0 ? -1 : t.out_features / kColumns;
  float* out = t.out + (first_row - t.origin.row) * t.out_stride;
  // Few rows: a panel from end to end, as it lies in memory. Many: a block of steps of all panels,
  // since that much of the activations stays in the second-level cache.
  int64_t number = t.part.panel_from;
  int64_t step = 0;
  while (number < t.part.panel_to) {
    const int64_t panels = order.take(number);
    int64_t next = number;
    int64_t next_step = step;
    if (kRepacked) {
      next += panels;
      if (next == t.part.panel_to) {
        const bool last = step + kSumBlock >= t.steps;
        next = last ? t.part.panel_to : t.part.panel_from;
        next_step = last ? 0 : step + kSumBlock;
      }
    } else {
      next_step += kSumBlock;
      if (next_step >= t.steps) {
        next += panels;
        next_step = 0;
      }
    }
    const int64_t after = next < t.part.panel_to ? next : t.part.next_panel;
    const BlockAt at{order.panel(number), order.apart(number), step, order.panel(after), next_step};
    if (at.panel == ragged) {
      block<kRepacked, T>(1, t, at, t.ragged, kColumns);
    } else {
      block<kRepacked, T>(panels, t, at, out + (at.panel - t.origin.panel) * kColumns,
                          t.out_stride);
    }
    number = next;
    step = next_step;
  }
  if (ragged >= t.part.panel_from && ragged < t.part.panel_to) {
    copy_ragged_panel(t.ragged, rows, ragged * kColumns, t.out_features, out, t.out_stride);
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
      if constexpr (!kRepacked) {
        if (t.order_of_tiles) return tile_of_type<false, Bf16TilePair>(t);
      }
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
