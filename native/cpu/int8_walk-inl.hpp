// How a product over int8 weights walks through one tile of the output (compiled once per Highway
// target): blocks of inputs, in them panels, in those groups of rows, for a kernel that computes a
// few panels for one group of rows.
#if defined(BLOCK_ATTENTION_CPU_INT8_WALK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_INT8_WALK_INL
#undef BLOCK_ATTENTION_CPU_INT8_WALK_INL
#else
#define BLOCK_ATTENTION_CPU_INT8_WALK_INL
#endif

#include <cstdint>

#include "cpu/int8_kernels.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {

constexpr int64_t kColumns = 16;
// Groups of inputs that all panels of a tile are multiplied by before the next ones: so much of the
// activations stays in the second-level cache. All of them for one row: what it needs stays anyway,
// and a panel is read from end to end.
constexpr int64_t kBlockGroups = 2048 / kInt8Group;
inline int64_t block_groups(const Int8Tile& t) {
  return t.rows == 1 ? int8_groups(t.in_features) : kBlockGroups;
}
// Software prefetch: how far a single pass over the weights looks ahead, in groups of inputs, and
// how many passes share out the next block.
constexpr int64_t kAheadGroups = 2;
constexpr int64_t kMaxShares = 4;
constexpr int64_t kGroupBytes = kInt8Group * kColumns;

// A term of the activations, at a block of inputs of a group of rows.
struct Inputs {
  const char* values;
  const float* scales;
  const int32_t* corrections;

  // From row `row` on, counted over all groups.
  HWY_INLINE Inputs row(int64_t row) const {
    return {values + row * kInt8RowBytes, scales + row, corrections + row};
  }
};

struct RowGroup {
  int64_t rows;
  Inputs terms[2];
  const uint16_t* rows_with_second;
  float* out;
};

// What a kernel computes at once: one block of inputs, out (+)= x * panels.
struct Micro {
  RowGroup x;
  const uint8_t* values;
  const uint16_t* scales;
  int64_t panel_groups;  // groups of a panel: strides between panels
  int64_t groups;        // of this block
  // What to bring into the cache meanwhile: ahead_step bytes on for every 64 bytes of each of the
  // panels, and from group `ahead_turn` on from ahead_then.
  const uint8_t* ahead;
  int64_t ahead_step;
  int64_t ahead_turn;
  const uint8_t* ahead_then;
  int64_t out_stride;
  bool add;           // to what earlier blocks left in out
  const float* bias;  // with the last block
};

// Where a block of inputs of some panels begins.
struct BlockAt {
  int64_t panel;
  int64_t group;
};

// The block at `at` of `panels` panels; `next` is the one that follows.
template <class Kernel>
void block(const Int8Tile& t, const BlockAt& at, const BlockAt& next, int64_t panels, float* out,
           int64_t out_stride) {
  const int64_t groups = int8_groups(t.in_features);
  const auto values_at = [&](const BlockAt& place) {
    return t.values + (place.panel * groups + place.group) * kGroupBytes;
  };
  const int64_t left = groups - at.group;
  const int64_t passes = t.part.row_group_to - t.part.row_group_from;
  // A single pass waits for memory itself, so it looks a little ahead. Several share out the whole
  // next block.
  const int64_t shares = passes < kMaxShares ? passes : kMaxShares;
  Micro m;
  m.values = values_at(at);
  m.scales = t.scales + (at.panel * groups + at.group) * kColumns;
  m.panel_groups = groups;
  m.groups = left < block_groups(t) ? left : block_groups(t);
  m.ahead_step = 64 / shares;
  m.ahead_turn = -1;
  m.ahead_then = nullptr;
  m.out_stride = out_stride;
  m.add = at.group != 0;
  m.bias = t.bias != nullptr && m.groups == left ? t.bias + at.panel * kColumns : nullptr;
  const int64_t share = m.groups * kGroupBytes / shares;
  const int64_t first_row = group_begin(t.rows, t.row_groups, t.part.row_group_from);
  const auto row_group = [&](int64_t index) {
    const int64_t row = group_begin(t.rows, t.row_groups, index);
    const int64_t rows = group_begin(t.rows, t.row_groups, index + 1) - row;
    const auto inputs_of = [&](const Int8Rows& term) {
      return Inputs{term.values, term.scales, term.corrections}.row(row * groups + at.group * rows);
    };
    return RowGroup{rows,
                    {inputs_of(t.x.first), inputs_of(t.x.second)},
                    t.x.rows_with_second + index * groups + at.group,
                    out + (row - first_row) * out_stride};
  };
  for (int64_t pass = 0; pass < passes; ++pass) {
    m.x = row_group(t.part.row_group_from + pass);
    m.ahead = values_at(next) + pass * share;
    if (passes == 1) {
      m.ahead = m.values + kAheadGroups * kGroupBytes;
      m.ahead_turn = m.groups > kAheadGroups ? m.groups - kAheadGroups : 0;
      m.ahead_then = values_at(next);
    } else if (pass >= shares) {
      m.ahead_step = 0;
    }
    Kernel::run(panels, m);
  }
}

// `width` panels at once, as far as there are so many.
template <class Kernel>
void walk(const Int8Tile& t, int64_t width) {
  const int64_t first_row = group_begin(t.rows, t.row_groups, t.part.row_group_from);
  const int64_t rows = group_begin(t.rows, t.row_groups, t.part.row_group_to) - first_row;
  // The last panel goes alone if it is ragged.
  const int64_t whole = t.out_features / kColumns;
  const int64_t groups = int8_groups(t.in_features);
  float* out = t.out + (first_row - t.origin.row) * t.out_stride;
  BlockAt at{t.part.panel_from, 0};
  while (at.panel < t.part.panel_to && at.group < groups) {
    const int64_t left = (t.part.panel_to < whole ? t.part.panel_to : whole) - at.panel;
    int64_t panels = width;
    while (panels > 1 && panels > left) panels /= 2;
    BlockAt next{at.panel + panels, at.group};
    if (next.panel >= t.part.panel_to) next = {t.part.panel_from, at.group + block_groups(t)};
    // Behind the last block: where this worker's next part most likely begins.
    const BlockAt after = next.group >= groups ? BlockAt{t.part.next_panel, 0} : next;
    if (at.panel == whole) {
      block<Kernel>(t, at, after, 1, t.ragged, kColumns);
    } else {
      block<Kernel>(t, at, after, panels, out + (at.panel - t.origin.panel) * kColumns,
                    t.out_stride);
    }
    at = next;
  }
  if (whole >= t.part.panel_from && whole < t.part.panel_to) {
    copy_ragged_panel(t.ragged, rows, whole * kColumns, t.out_features, out, t.out_stride);
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
