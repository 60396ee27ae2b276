#include "cpu/amx_int8_kernels.hpp"

#include <algorithm>
#include <bit>

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/amx_int8_sums-inl.hpp"

// A product is one group of inputs, whose sums have scales of their own: two tile multiplications,
// one for each half of the activations, which add to the same sums. Every product leaves the tiles
// for memory, is scaled there and added to the totals. For 16 x 16 x 64 of them the multiplier is
// busy for 11 ns and the vectors for 16, since tiles leave conversions, products and multiply-adds
// one port. In a loop of nothing else both together take 20 ns, here 28:
//
// - Products of two groups of rows take turns, over two panels each. What is stored are the sums of
//   the product before, and what is added are those of the one before that, a few rows between two
//   multiplications, so that no store has to be forwarded to a vector.
// - The last products of a pass are added behind the first ones of the next, and what is gated
//   leaves a few rows behind every product of it: nothing waits for the end of a pass.
// - Both panels share a load of the activations, and both groups of rows one of the weights: 1.5
//   KiB a product. The first-level cache keeps the weights, which all passes read, since
//   activations are loaded past it.
// - Few rows have a second term, and most tiles one of them: those of a whole part are multiplied
//   together, before its first terms, and added row by row where the order of sums has them.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kGroupBytes = kInt8Group * kColumns;
static_assert(amx::kRowBytes == kInt8Group && amx::kTileRows == kInt8MostRows &&
              amx::kTileBytes == kGroupBytes);
// A single pass waits for memory itself, and so looks so many groups ahead. Several share out the
// next panels.
constexpr int64_t kAheadGroups = 2;
constexpr int64_t kGroupLines = kGroupBytes / amx::kRowBytes;
// Where totals begin.
HWY_ALIGN constexpr float kZeros[kTotalStride] = {};

// One or two groups of rows, of a block of inputs, times one or two panels.
struct Pass {
  int64_t groups;  // of the block
  // Totals that leave behind a product, so that all of a pass have left when the next one ends.
  int64_t rows_at_once;
  const uint8_t* values[kPanels];
  const uint16_t* scales[kPanels];
  PassRows x[kRowGroups];
  Destination to;
  // What is asked for meanwhile of as many panels, how many lines of each a group, and behind which
  // group of others.
  const uint8_t* ahead[kPanels];
  int64_t ahead_lines;
  int64_t ahead_turn;
  const uint8_t* ahead_then[kPanels];
};

// Products on their way, in one of two slots: tiles 0 and 1 are sums of the first, 2 and 3 of the
// second; 4 and 5 are their activations, 6 and 7 the weights. They are sent on behind the ones that
// follow, of the next pass, too: until drain() what a pass refers to has to stay.
class Products {
 public:
  explicit Products(AmxInt8Scratch& scratch) : scratch_(scratch) {}

  // Room for the next one, which must be multiplied.
  Pass& next_pass() {
    pass_ = (pass_ + 1) % kPasses;
    return passes_[pass_];
  }

  // The pass: one or two groups of rows, times one or two panels.
  template <int kGroups, int kWide>
  HWY_NOINLINE void multiply() {
    const Pass& p = passes_[pass_];
    const uint8_t* ahead[kPanels] = {p.ahead[0], p.ahead[1]};
    // What is sent on behind the first group of inputs is the last of the pass before, as a rule,
    // and behind the second the first of this one: branches of their own, that the CPU can
    // foretell.
    multiply_group<kGroups, kWide, 0>(p, 0, ahead);
    if (p.groups > 1) multiply_group<kGroups, kWide, 1>(p, 1, ahead);
    for (int64_t group = 2; group < p.groups; ++group)
      multiply_group<kGroups, kWide, 2>(p, group, ahead);
    if constexpr (kGroups == 1) p.groups % 2 == 0 ? drain<kWide>() : drain_slots<1, kWide>();
  }

  // Sends on what is left of panels so wide.
  template <int kWide>
  void drain() {
    drain_slots<0, kWide>();
  }

  // Sums of the second terms.
  template <int kWide>
  HWY_NOINLINE void multiply_seconds(const Pass& p) {
    int64_t row = 0;
    for (int64_t group = 0; group < p.groups; ++group) {
      const int64_t end = scratch_.seconds_end[group];
      if (row < end) load_weights<kWide>(p, group);
      for (; row < end; row += kInt8MostRows) {
        int32_t* sums = scratch_.second_sums + row * kTotalStride;
        constexpr int64_t kStride = kTotalStride * int64_t{sizeof(int32_t)};
        const char* values = scratch_.second_values + row * kInt8RowBytes;
        zero<0, kWide>();
        for (int half = 0; half < 2; ++half) {
          load_half<0>(values + half * kInt8Group);
          multiply_half<0, kWide>();
        }
        amx::store<0>(sums, kStride);
        if constexpr (kWide > 1) amx::store<1>(sums + kColumns, kStride);
      }
      row = end;
    }
  }

 private:
  static constexpr int kSlots = 2;
  static constexpr int64_t kRowsAtOnce = amx::kTileRows / 4;

  template <int kWide>
  static HWY_INLINE void load_weights(const Pass& p, int64_t group) {
    amx::load<6>(p.values[0] + group * kGroupBytes);
    if constexpr (kWide > 1) amx::load<7>(p.values[1] + group * kGroupBytes);
  }

  template <int kWide>
  static HWY_INLINE void ask(const Pass& p, int64_t group, const uint8_t* (&ahead)[kPanels]) {
    if (group == p.ahead_turn) {
      for (int j = 0; j < kWide; ++j) ahead[j] = p.ahead_then[j];
    }
    for (int64_t i = 0; i < p.ahead_lines; ++i) {
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) {
        __builtin_prefetch(ahead[j], 0, 3);
        ahead[j] += amx::kRowBytes;
      }
    }
  }

  template <int kSlot, int kWide>
  static HWY_INLINE void zero() {
    amx::zero<kSlot * kPanels>();
    if constexpr (kWide > 1) amx::zero<kSlot * kPanels + 1>();
  }

  // Half of the activations of 16 rows. Rows behind those of the group are whatever follows; nobody
  // reads their sums.
  template <int kSlot>
  static HWY_INLINE void load_half(const char* values) {
    amx::load_past<4 + kSlot>(values, kInt8RowBytes);
  }

  template <int kSlot, int kWide>
  static HWY_INLINE void multiply_half() {
    amx::multiply_int8<kSlot * kPanels, 4 + kSlot, 6>();
    if constexpr (kWide > 1) amx::multiply_int8<kSlot * kPanels + 1, 4 + kSlot, 7>();
  }

  // kTurn: 0 or 1 of the first two groups, 2 of those behind them.
  template <int kGroups, int kWide, int kTurn>
  HWY_INLINE void multiply_group(const Pass& p, int64_t group, const uint8_t* (&ahead)[kPanels]) {
    load_weights<kWide>(p, group);
    ask<kWide>(p, group, ahead);
    if constexpr (kGroups > 1) {
      multiply_rows<0, kWide, (kTurn > 1)>(p, p.x[0], group);
      multiply_rows<1, kWide, (kTurn > 1)>(p, p.x[1], group);
    } else if (group % 2 == 0) {
      multiply_rows<0, kWide, false>(p, p.x[0], group);
    } else {
      multiply_rows<1, kWide, false>(p, p.x[0], group);
    }
  }

  // kMiddle: what is sent on is neither the first nor the last of its totals.
  template <int kSlot, int kWide, bool kMiddle>
  HWY_INLINE void multiply_rows(const Pass& p, const PassRows& x, int64_t group) {
    const char* values = x.values + group * x.rows * kInt8RowBytes;
    Adding<kWide, kMiddle> adding(products_[kSlot], sums_[kSlot][0]);
    zero<kSlot, kWide>();
    HWY_UNROLL(2)
    for (int half = 0; half < 2; ++half) {
      load_half<kSlot>(values + half * kInt8Group);
      adding.template add<kRowsAtOnce>();
      multiply_half<kSlot, kWide>();
      adding.template add<kRowsAtOnce>();
    }
    adding.add_seconds(scratch_);
    Product& product = products_[kSlot];
    if (!kMiddle && product.last) leaving_[kSlot] = {product.x, product.to, 0};
    leaving_[kSlot].template send<kWide>(p.rows_at_once);
    product.x = &x;
    product.to = &p.to;
    for (int j = 0; j < kWide; ++j) product.weight_scales[j] = p.scales[j] + group * kColumns;
    product.group = group;
    product.last = group == p.groups - 1;
    store<1 - kSlot, kWide>();
  }

  // kFirst: the slot of the older product.
  template <int kFirst, int kWide>
  HWY_NOINLINE void drain_slots() {
    store<1 - kFirst, kWide>();
    for (int slot : {kFirst, 1 - kFirst}) {
      Adding<kWide, false> adding(products_[slot], sums_[slot][0]);
      adding.template add<amx::kTileRows>();
      adding.add_seconds(scratch_);
      const Product& product = products_[slot];
      leaving_[slot].template send<kWide>(amx::kTileRows);
      if (product.last) leaving_[slot] = {product.x, product.to, 0};
      leaving_[slot].template send<kWide>(amx::kTileRows);
      products_[slot] = {};
    }
  }

  template <int kSlot, int kWide>
  HWY_INLINE void store() {
    amx::store<kSlot * kPanels>(sums_[kSlot][0]);
    if constexpr (kWide > 1) amx::store<kSlot * kPanels + 1>(sums_[kSlot][1]);
  }

  AmxInt8Scratch& scratch_;
  HWY_ALIGN int32_t sums_[kSlots][kPanels][kTileSums];
  Product products_[kSlots] = {};
  Leaving leaving_[kSlots] = {};
  // Products on their way are of the pass itself or of one of the two before.
  static constexpr int kPasses = 3;
  Pass passes_[kPasses];
  int pass_ = 0;
};

// Panels that are multiplied at once: `width` of them, `apart` from each other.
struct Panels {
  int64_t first;
  int64_t apart;
  int64_t width;
};

// Groups of inputs.
struct Block {
  int64_t first;
  int64_t groups;
};

// What a worker computes of the output.
class Part {
 public:
  explicit Part(const Int8Tile& t)
      : t_(t),
        scratch_(*t.amx),
        groups_(int8_groups(t.in_features)),
        whole_(t.out_features / kColumns),
        first_row_(row_of(t.part.row_group_from)),
        products_(scratch_) {}

  void compute() {
    compute_rows(t_.part.row_group_from, t_.part.row_group_to);
    if (t_.stream) hwy::FlushStream();
    if (whole_ >= t_.part.panel_from && whole_ < t_.part.panel_to) copy_ragged();
  }

 private:
  // Of so many groups of rows that there is room for their second terms.
  void compute_rows(int64_t from, int64_t to) {
    for (int64_t first = 0; first < groups_; first += kAmxInt8BlockGroups) {
      if (count_seconds(from, to, block_at(first)) <= kAmxSeconds) continue;
      const int64_t middle = (from + to) / 2;
      compute_rows(from, middle);
      return compute_rows(middle, to);
    }
    for (int64_t first = 0; first < groups_; first += kAmxInt8BlockGroups) {
      const Block block = block_at(first);
      const bool seconds = gather_seconds(from, to, block);
      for (int64_t panel = t_.part.panel_from; panel < t_.part.panel_to;) {
        const Panels at = panels_at(panel);
        const int64_t next = panel + (t_.half > 0 ? 1 : at.width);
        const uint8_t* then = values_at(next, first);
        if (next >= t_.part.panel_to) {
          const bool last = first + block.groups == groups_;
          then = last ? values_at(t_.part.next_panel, 0)
                      : values_at(t_.part.panel_from, first + block.groups);
        }
        if (at.width > 1) {
          compute_panels<2>(at, block, from, to, seconds, then);
          // The next panels may be as wide and have no second terms, or not.
          if (seconds || next >= t_.part.panel_to || panels_at(next).width == 1)
            products_.drain<2>();
        } else {
          compute_panels<1>(at, block, from, to, seconds, then);
          products_.drain<1>();
        }
        panel = next;
      }
    }
  }

  Block block_at(int64_t first) const {
    const int64_t left = groups_ - first;
    return {first, left < kAmxInt8BlockGroups ? left : kAmxInt8BlockGroups};
  }

  // The last panel goes alone if it is ragged.
  Panels panels_at(int64_t panel) const {
    if (t_.half > 0) return {panel, t_.half, kPanels};
    const int64_t end = t_.part.panel_to < whole_ ? t_.part.panel_to : whole_;
    return {panel, 1, panel + kPanels <= end ? kPanels : 1};
  }

  const uint8_t* values_at(int64_t panel, int64_t group) const {
    return t_.values + (panel * groups_ + group) * kGroupBytes;
  }

  int64_t row_of(int64_t row_group) const { return group_begin(t_.rows, t_.row_groups, row_group); }

  int64_t count_seconds(int64_t from, int64_t to, const Block& block) const {
    int64_t count = 0;
    for (int64_t i = from; i < to; ++i) {
      const uint16_t* rows = t_.x.rows_with_second + i * groups_ + block.first;
      for (int64_t group = 0; group < block.groups; ++group) count += std::popcount(rows[group]);
    }
    return count;
  }

  // Gives whether there are any. A worker's parts are mostly of the same rows, one after the other.
  bool gather_seconds(int64_t from, int64_t to, const Block& block) {
    auto& of = scratch_.gathered;
    if (of.call != t_.call || of.from != from || of.to != to || of.first_input != block.first) {
      of = {t_.call, from, to, block.first};
      int32_t count = 0;
      for (int64_t i = 0; i < block.groups; ++i) {
        for (int64_t k = from; k < to; ++k) {
          scratch_.seconds_begin[k - from][i] = count;
          const uint32_t rows = t_.x.rows_with_second[k * groups_ + block.first + i];
          if (rows != 0) count = gather_rows(k, block.first + i, rows, count);
        }
        scratch_.seconds_end[i] = count;
      }
    }
    return scratch_.seconds_end[block.groups - 1] > 0;
  }

  // Those of a group of rows and of inputs, behind `count` others. Gives how many there are then.
  int32_t gather_rows(int64_t row_group, int64_t group, uint32_t rows, int32_t count) {
    const Int8Rows& second = t_.x.second;
    const int64_t first = row_of(row_group);
    const int64_t at = first * groups_ + group * (row_of(row_group + 1) - first);
    for (; rows != 0; rows &= rows - 1) {
      const int64_t from = at + std::countr_zero(rows);
      hwy::CopyBytes<kInt8RowBytes>(second.values + from * kInt8RowBytes,
                                    scratch_.second_values + count * kInt8RowBytes);
      scratch_.second_scales[count++] = second.scales[from];
    }
    return count;
  }

  // `then`: the weights that follow.
  template <int kWide>
  void compute_panels(const Panels& at, const Block& block, int64_t from, int64_t to, bool seconds,
                      const uint8_t* then) {
    Pass panels{};
    panels.groups = block.groups;
    // What is not gated costs little, and is written faster at once.
    panels.rows_at_once =
        t_.half > 0 ? (amx::kTileRows + block.groups - 1) / block.groups : amx::kTileRows;
    const int64_t passes = (to - from + kRowGroups - 1) / kRowGroups;
    const bool alone = passes == 1;  // no other pass reads these panels
    panels.ahead_lines = (kGroupLines + passes - 1) / passes;
    const bool last_block = block.first + block.groups == groups_;
    panels.ahead_turn = alone ? std::max<int64_t>(0, block.groups - kAheadGroups) : -1;
    for (int64_t j = 0; j < kWide; ++j) {
      const int64_t panel = at.first + j * at.apart;
      panels.values[j] = values_at(panel, block.first);
      panels.scales[j] = t_.scales + (panel * groups_ + block.first) * kColumns;
      panels.ahead_then[j] = then + j * at.apart * groups_ * kGroupBytes;
      panels.to.bias[j] = last_block && t_.bias != nullptr ? t_.bias + panel * kColumns : nullptr;
    }
    panels.to.gated = last_block && t_.half > 0;
    panels.to.stream = last_block && t_.stream && at.first != whole_;
    if (seconds) products_.multiply_seconds<kWide>(panels);
    for (int64_t pass = 0; pass < passes; ++pass) {
      Pass& p = products_.next_pass();
      p = panels;
      turn_ = 1 - turn_;
      const int64_t first = from + pass * kRowGroups;
      const int64_t used = to - first < kRowGroups ? to - first : kRowGroups;
      for (int64_t i = 0; i < used; ++i)
        p.x[i] = rows_of(first + i, totals_[turn_][i], from, block, at, p.to);
      const int64_t line = pass * p.ahead_lines * block.groups;
      for (int64_t j = 0; j < kWide; ++j) {
        p.ahead[j] = alone ? p.values[j] + kAheadGroups * kGroupBytes
                           : p.ahead_then[j] + line * amx::kRowBytes;
      }
      used > 1 ? products_.multiply<2, kWide>() : products_.multiply<1, kWide>();
    }
  }

  PassRows rows_of(int64_t row_group, float* totals, int64_t from, const Block& block,
                   const Panels& at, Destination& to) {
    const int64_t row = row_of(row_group);
    const int64_t rows = row_of(row_group + 1) - row;
    const int64_t inputs = row * groups_ + block.first * rows;
    PassRows x{};
    x.rows = rows;
    x.values = t_.x.first.values + inputs * kInt8RowBytes;
    x.scales = t_.x.first.scales + inputs;
    x.with_second = t_.x.rows_with_second + row_group * groups_ + block.first;
    x.seconds_begin = scratch_.seconds_begin[row_group - from];
    x.totals = totals;
    const bool first_block = block.first == 0;
    const bool last_block = block.first + block.groups == groups_;
    int64_t stride = t_.out_stride;
    float* out = t_.out + row * stride + at.first * kColumns;
    if (at.first == whole_) {
      stride = kColumns;
      out = t_.ragged + (row - first_row_) * kColumns;
    }
    float* between = out;
    int64_t between_stride = stride;
    if (t_.half > 0) {
      between_stride = kAmxInt8PartPanels * kTotalStride;
      between = scratch_.blocks + (row - first_row_) * between_stride +
                (at.first - t_.part.panel_from) * kTotalStride;
    }
    x.begin = first_block ? kZeros : between;
    to.begin_stride = first_block ? 0 : between_stride;
    x.end = last_block ? out : between;
    to.end_stride = last_block ? stride : between_stride;
    return x;
  }

  void copy_ragged() const {
    copy_ragged_panel(t_.ragged, row_of(t_.part.row_group_to) - first_row_, whole_ * kColumns,
                      t_.out_features, t_.out + first_row_ * t_.out_stride, t_.out_stride);
  }

  const Int8Tile& t_;
  AmxInt8Scratch& scratch_;
  const int64_t groups_;
  const int64_t whole_;
  const int64_t first_row_;
  // Those of a pass leave during the next one.
  int turn_ = 0;
  HWY_ALIGN float totals_[2][kRowGroups][amx::kTileRows * kTotalStride];
  Products products_;
};

}  // namespace

void amx_int8_tile(const Int8Tile& t) {
  const amx::Tiles tiles;
  Part(t).compute();
}

int64_t amx_int8_tile_panels(int64_t) { return kPanels; }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE && defined(__x86_64__)
namespace block_attention {

Int8Kernels amx_int8_kernels() {
  return {Int8Dot::kAmx,          amx::kTileRows, &N_AVX3::amx_int8_tile_panels,
          &N_AVX3::amx_int8_tile, true,           N_AVX3::kRowGroups};
}

}  // namespace block_attention
#endif
