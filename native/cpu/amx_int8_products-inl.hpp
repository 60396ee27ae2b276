// Products of int8 by tiles: multiplied, and sent on behind those that follow (compiled for AVX-512
// alone).
#if defined(BLOCK_ATTENTION_CPU_AMX_INT8_PRODUCTS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_AMX_INT8_PRODUCTS_INL
#undef BLOCK_ATTENTION_CPU_AMX_INT8_PRODUCTS_INL
#else
#define BLOCK_ATTENTION_CPU_AMX_INT8_PRODUCTS_INL
#endif

#include <cstdint>

#include "cpu/amx_int8_sums-inl.hpp"
#include "cpu/amx_tiles.hpp"
#include "hwy/highway.h"

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

constexpr int64_t kGroupBytes = kInt8Group * kColumns;
static_assert(amx::kRowBytes == kInt8Group && amx::kTileRows == kInt8MostRows &&
              amx::kTileBytes == kGroupBytes);
constexpr int64_t kGroupLines = kGroupBytes / amx::kRowBytes;

// One or two groups of rows, of a block of inputs, times one or two panels.
struct Pass {
  int64_t groups;  // of the block
  // Rows that leave behind a product, so that all of a pass have left when the next one ends.
  int64_t leaving_rows;
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
    pass_ = 1 - pass_;
    return passes_[pass_];
  }
  // Of its group of rows `index`.
  float* totals(int64_t index) { return totals_[pass_][index]; }

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
    leaving_[kSlot].template send<kWide>(p.leaving_rows);
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
  // The pass itself, and the one before, whose last products and totals are on their way.
  Pass passes_[2];
  HWY_ALIGN float totals_[2][kRowGroups][amx::kTileRows * kTotalStride];
  int pass_ = 0;
};

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
