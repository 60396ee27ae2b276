#include "cpu/amx_bf16_kernels.hpp"

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_bf16_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/amx_bf16_leaving-inl.hpp"
#include "cpu/bf16_pairs-inl.hpp"

// A product of tiles takes 16 cycles. Everything else is to go on beside it:
//
// - Four sums at once, of two groups of rows and two panels: a step then loads four tiles for four
//   products, 64 lines in 64 cycles. The second-level cache gives 48, so the first-level one has to
//   give some: it keeps most of the weights of a block from one pass over them to the next, and
//   everything else is loaded past it.
// - Every pass brings a share of the next panels into the second-level cache.
// - Sums go from a buffer to the output between the steps of the next pass, through SwiGLU where
//   the weight is [gate; up]: a panel of the gate and its like of `up` are then the two panels.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kTilePairs = kAmxStepPairs * kColumns;  // of either side, and floats of a sum
constexpr int64_t kLinePairs = 16;
constexpr int64_t kTileLines = kTilePairs / kLinePairs;
static_assert(kTilePairs * 4 == amx::kTileBytes && kAmxGroupRows == amx::kTileRows);
static_assert(kSumBlock % kAmxStepPairs == 0);
static_assert(kAmxReach == 2 * kSumBlock, "at most one block of a reach waits for another");
static_assert(kAmxBlockRows % (kRowGroups * kAmxGroupRows) == 0);
// Steps of a block whose weights the first-level cache keeps: 40 KiB of 48, beside 4 of sums.
constexpr int64_t kNearSteps = 20;
// Steps of a turn, behind which some sums leave, and a tile is stored that nobody reads: one that
// is stored more than 0.7 us after the one before takes 0.3 us instead of 5 ns.
constexpr int64_t kTurnSteps = 4;
static_assert(kNearSteps % kTurnSteps == 0);
// A single pass waits for memory itself, and so looks a turn ahead. Several share out the next
// panels.
constexpr int64_t kAheadTurns = 1;
// The last turn may be shorter.
constexpr int64_t turns_of(int64_t steps) { return (steps + kTurnSteps - 1) / kTurnSteps; }

// A pass: a block of pairs of one or two groups of rows times that of one or two panels.
struct Pass {
  bool alone;  // no other pass reads these panels
  const float* x[kRowGroups];
  int64_t rows[kRowGroups];
  const float* panels[kPanels];
  // Whole tiles of weights; behind them a last one where the weight ends in part of one.
  int64_t steps;
  const float* last[kPanels];
  // What is asked for meanwhile of as many panels, how many lines of each a step, and behind which
  // turn of others.
  const float* ahead[kPanels];
  int64_t ahead_lines;
  int64_t ahead_turn;
  const float* ahead_then[kPanels];
  float* sums;  // rows kSumStride apart
};

// What the first-level cache is to keep.
enum class Near : uint8_t { kNothing, kWeights, kAll };

template <int kTile, bool kNear>
HWY_INLINE void load(const float* from) {
  if constexpr (kNear) {
    amx::load<kTile>(from);
  } else {
    amx::load_past<kTile>(from);
  }
}

// Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights.
template <int kGroups, int kWide, Near kNear>
HWY_INLINE void multiply_step(const float* const (&x)[kRowGroups],
                              const float* const (&weights)[kPanels]) {
  constexpr bool kNearWeights = kNear != Near::kNothing;
  constexpr bool kNearX = kNear == Near::kAll;
  load<6, kNearWeights>(weights[0]);
  if constexpr (kWide > 1) load<7, kNearWeights>(weights[1]);
  load<4, kNearX>(x[0]);
  amx::multiply_bf16<0, 4, 6>();
  if constexpr (kWide > 1) amx::multiply_bf16<1, 4, 7>();
  if constexpr (kGroups > 1) {
    load<5, kNearX>(x[1]);
    amx::multiply_bf16<2, 5, 6>();
    if constexpr (kWide > 1) amx::multiply_bf16<3, 5, 7>();
  }
}

// Empties `leaving` meanwhile.
template <int kGroups, int kWide>
HWY_NOINLINE void multiply(const Pass& p, Leaving& leaving) {
  amx::zero<0>();
  amx::zero<1>();
  amx::zero<2>();
  amx::zero<3>();
  const float* x[kRowGroups] = {p.x[0], p.x[1]};
  const float* weights[kPanels] = {p.panels[0], p.panels[1]};
  const float* ahead[kPanels] = {p.ahead[0], p.ahead[1]};
  const int64_t x_steps[kRowGroups] = {p.rows[0] * kAmxStepPairs, p.rows[1] * kAmxStepPairs};
  const int64_t ahead_pairs = p.ahead_lines * kLinePairs;
  const int64_t turns = turns_of(p.steps);
  const int64_t rows_a_turn = (leaving.rows + turns - 1) / (turns > 0 ? turns : 1);
  const auto steps = [&]<Near kNear, int kSteps>() HWY_ATTR {
    // Into the first-level cache, or the second.
    constexpr int kLocality = kNear == Near::kAll ? 3 : 2;
    HWY_UNROLL(4)
    for (int i = 0; i < kSteps; ++i) {
      multiply_step<kGroups, kWide, kNear>(x, weights);
      for (int j = 0; j < kGroups; ++j) x[j] += x_steps[j];
      for (int j = 0; j < kWide; ++j) {
        for (int64_t k = 0; k < ahead_pairs; k += kLinePairs)
          __builtin_prefetch(ahead[j] + k, 0, kLocality);
      }
      for (int j = 0; j < kWide; ++j) {
        weights[j] += kTilePairs;
        ahead[j] += ahead_pairs;
      }
    }
  };
  int64_t turn = 0;
  const auto end_turn = [&]() HWY_ATTR {
    if (++turn == p.ahead_turn) {
      for (int j = 0; j < kWide; ++j) ahead[j] = p.ahead_then[j];
    }
    leave(leaving, rows_a_turn);
    amx::store<6>(leaving.unused, 0);
  };
  int64_t step = 0;
  for (; step + kTurnSteps <= p.steps; step += kTurnSteps) {
    if (p.alone) {
      steps.template operator()<Near::kAll, kTurnSteps>();
    } else if (step < kNearSteps) {
      steps.template operator()<Near::kWeights, kTurnSteps>();
    } else {
      steps.template operator()<Near::kNothing, kTurnSteps>();
    }
    end_turn();
  }
  if (step < p.steps) {
    for (; step < p.steps; ++step) {
      p.alone ? steps.template operator()<Near::kAll, 1>()
              : steps.template operator()<Near::kWeights, 1>();
    }
    end_turn();
  }
  if (p.last[0] != nullptr) multiply_step<kGroups, kWide, Near::kAll>(x, p.last);
  leave(leaving, leaving.rows);
  constexpr int64_t kStride = kSumStride * int64_t{sizeof(float)};
  amx::store<0>(p.sums, kStride);
  if constexpr (kWide > 1) amx::store<1>(p.sums + kColumns, kStride);
  if constexpr (kGroups > 1) {
    // The rows of the first tile behind its group's are nobody's.
    float* second = p.sums + p.rows[0] * kSumStride;
    amx::store<2>(second, kStride);
    if constexpr (kWide > 1) amx::store<3>(second + kColumns, kStride);
  }
}

// Panels that are multiplied at once: `width` of them, `apart` from each other.
struct Panels {
  int64_t first;
  int64_t apart;
  int64_t width;
};

class Tile {
 public:
  explicit Tile(const AmxTile& t)
      : t_(t),
        scratch_(*t.scratch),
        first_row_(group_begin(t.rows, t.groups, t.part.row_group_from)),
        whole_(t.out_features / kColumns) {}

  void compute() {
    const bool one_pass = t_.part.row_group_to - t_.part.row_group_from <= kRowGroups;
    const int64_t reach_steps = one_pass ? t_.steps : kAmxReach;
    for (int64_t reach = 0; reach < t_.steps; reach += reach_steps) {
      for (int64_t panel = t_.part.panel_from; panel < t_.part.panel_to;) {
        const Panels at = panels_at(panel);
        const int64_t next = panel + (t_.half > 0 ? 1 : at.width);
        const bool last = next >= t_.part.panel_to;
        const bool done = last && reach + reach_steps >= t_.steps;
        const int64_t then = done ? t_.part.next_panel : last ? t_.part.panel_from : next;
        const int64_t then_reach = done ? 0 : last ? reach + reach_steps : reach;
        for (int64_t i = 0; i < reach_steps && reach + i < t_.steps; i += kSumBlock)
          block(at, reach + i, weights_at(then, one_pass ? 0 : then_reach + i));
        panel = next;
      }
    }
    leave(leaving_, leaving_.rows);
    if (t_.stream) hwy::FlushStream();
    if (whole_ >= t_.part.panel_from && whole_ < t_.part.panel_to) copy_ragged();
  }

 private:
  // The last panel goes alone if it is ragged.
  Panels panels_at(int64_t panel) const {
    if (t_.half > 0) return {panel, t_.half, kPanels};
    const int64_t end = t_.part.panel_to < whole_ ? t_.part.panel_to : whole_;
    return {panel, 1, panel + kPanels <= end ? kPanels : 1};
  }

  const float* weights_at(int64_t panel, int64_t first) const {
    return t_.panels + (panel * t_.steps + first) * kColumns;
  }

  // The block of pairs that begins at `first`. What is asked for begins at `ahead`.
  void block(const Panels& at, int64_t first, const float* ahead) {
    const int64_t left = t_.steps - first;
    const int64_t pairs = left < kSumBlock ? left : kSumBlock;
    Pass p{};
    p.steps = pairs / kAmxStepPairs;
    for (int64_t j = 0; j < at.width; ++j) {
      p.panels[j] = weights_at(at.first + j * at.apart, first);
      if (pairs % kAmxStepPairs != 0) p.last[j] = last_tile(j, p.panels[j], pairs);
    }
    const bool waits = first % kAmxReach == 0 && pairs < left;
    const int64_t padded = amx_padded_pairs(t_.steps);
    const int64_t groups = t_.part.row_group_to - t_.part.row_group_from;
    const int64_t passes = (groups + kRowGroups - 1) / kRowGroups;
    p.alone = passes == 1;
    p.ahead_lines = (kTileLines + passes - 1) / passes;
    p.ahead_turn = p.alone && pairs == left ? turns_of(p.steps) - kAheadTurns : -1;
    int64_t row = first_row_;
    for (int64_t pass = 0; pass < passes; ++pass) {
      const int64_t from = t_.part.row_group_from + pass * kRowGroups;
      const int64_t begin = row;
      int64_t used = 0;
      for (; used < kRowGroups && from + used < t_.part.row_group_to; ++used) {
        const int64_t end = group_begin(t_.rows, t_.groups, from + used + 1);
        p.rows[used] = end - row;
        p.x[used] = t_.x + row * padded + first * p.rows[used];
        row = end;
      }
      const int64_t line = pass * p.ahead_lines * p.steps;
      for (int64_t j = 0; j < at.width; ++j) {
        p.ahead_then[j] = ahead + j * at.apart * t_.steps * kColumns;
        p.ahead[j] = p.alone ? p.panels[j] + kAheadTurns * kTurnSteps * kTilePairs
                             : p.ahead_then[j] + line * kLinePairs;
      }
      float* waiting = scratch_.block + pass * kRowGroups * kAmxGroupRows * kSumStride;
      p.sums = waits ? waiting : leaving_.sums;
      if (used > 1) {
        at.width > 1 ? multiply<2, 2>(p, leaving_) : multiply<2, 1>(p, leaving_);
      } else {
        at.width > 1 ? multiply<1, 2>(p, leaving_) : multiply<1, 1>(p, leaving_);
      }
      if (waits) continue;
      leaving_.rows = row - begin;
      leaving_.panels = at.width;
      leaving_.from = leaving_.sums;
      leaving_.block = first % kAmxReach == 0 ? nullptr : waiting;
      leaving_.first_reach = first < kAmxReach;
      send(at, begin - first_row_, pairs == left);
      if (leaving_.gated != nullptr && t_.packed_pairs > 0) send_packed(at, begin, p.rows);
    }
  }

  // Where sums of the part's rows from `row` on go; `last`: they are complete.
  void send(const Panels& at, int64_t row, bool last) {
    const bool ragged = at.first == whole_;
    for (int64_t j = 0; j < at.width; ++j) {
      leaving_.bias[j] =
          last && t_.bias != nullptr ? t_.bias + (at.first + j * at.apart) * kColumns : nullptr;
    }
    leaving_.stream = t_.stream && last && !ragged;
    float* out = t_.out + (first_row_ + row) * t_.out_stride + at.first * kColumns;
    leaving_.gated = nullptr;
    if (ragged) {
      leaving_.reaches = scratch_.ragged + row * kColumns;
      leaving_.reaches_stride = kColumns;
    } else if (t_.half > 0) {
      constexpr int64_t kStride = kAmxPartPanels * kColumns;
      leaving_.reaches =
          scratch_.reaches + row * kStride + (at.first - t_.part.panel_from) * kSumStride;
      leaving_.reaches_stride = kStride;
      if (last) leaving_.gated = out;
      leaving_.gated_stride = t_.out_stride;
    } else {
      leaving_.reaches = out;
      leaving_.reaches_stride = t_.out_stride;
    }
    const bool plain = at.width == kPanels && leaving_.first_reach && leaving_.bias[0] == nullptr;
    const Way way = way_out();
    if (leaving_.block != nullptr) {
      leaving_.leave_rows = plain ? leave_kind<true, true>(way) : leave_kind<false, true>(way);
    } else {
      leaving_.leave_rows = plain ? leave_kind<true, false>(way) : leave_kind<false, false>(way);
    }
  }

  Way way_out() const {
    if (leaving_.gated == nullptr) return leaving_.stream ? Way::kSumsPast : Way::kSums;
    if (t_.packed_pairs > 0) return Way::kGatedPacked;
    return leaving_.stream ? Way::kGatedPast : Way::kGated;
  }

  // The half of a step of the next product that a panel of gated outputs is, of the groups of rows
  // of a pass, which begins at row `begin`.
  void send_packed(const Panels& at, int64_t begin, const int64_t (&rows)[kRowGroups]) {
    constexpr int64_t kHalf = kAmxStepPairs / 2;
    const auto place = [&](int64_t row, int64_t of_group) {
      return t_.out + row * t_.packed_pairs + at.first / 2 * of_group * kAmxStepPairs +
             at.first % 2 * kHalf;
    };
    leaving_.gated = place(begin, rows[0]);
    leaving_.gated_stride = kAmxStepPairs;
    leaving_.first_rows = rows[0];
    leaving_.second = place(begin + rows[0], rows[1]);
  }

  // What is left of a panel's block behind its whole tiles, with zeros behind it.
  const float* last_tile(int64_t panel, const float* pairs, int64_t count) {
    const int64_t ragged = count % kAmxStepPairs;
    float* tile = scratch_.tiles[panel];
    __builtin_memset(tile, 0, amx::kTileBytes);
    __builtin_memcpy(tile, pairs + (count - ragged) * kColumns,
                     static_cast<size_t>(ragged * kColumns) * sizeof(float));
    return tile;
  }

  void copy_ragged() const {
    const int64_t rows = group_begin(t_.rows, t_.groups, t_.part.row_group_to) - first_row_;
    copy_ragged_panel(scratch_.ragged, rows, whole_ * kColumns, t_.out_features,
                      t_.out + first_row_ * t_.out_stride, t_.out_stride);
  }

  const AmxTile& t_;
  AmxScratch& scratch_;
  const int64_t first_row_;
  const int64_t whole_;
  Leaving leaving_;
};

}  // namespace

void amx_bf16_tile(const AmxTile& t) {
  const amx::Tiles tiles;
  Tile(t).compute();
}

void amx_bf16_pack(const float* x, int64_t x_stride, int64_t rows, int64_t inputs, float* packed) {
  constexpr int64_t kInputs = 2 * kAmxStepPairs;
  static_assert(kInputs == 2 * kColumns);
  const D d;
  const int64_t whole = inputs / kInputs * kInputs;
  for (int64_t row = 0; row < rows; ++row) {
    float* to = packed + row * kAmxStepPairs;
    for (int64_t k = 0; k < whole; k += kInputs) {
      round_two_to_bf16(hn::LoadU(d, x + k), hn::LoadU(d, x + k + kColumns), to);
      to += rows * kAmxStepPairs;
    }
    if (whole < inputs) {
      HWY_ALIGN float last[kInputs] = {};
      for (int64_t k = whole; k < inputs; ++k) last[k - whole] = x[k];
      round_two_to_bf16(hn::Load(d, last), hn::Load(d, last + kColumns), to);
    }
    x += x_stride;
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace block_attention {

AmxBf16Kernels amx_bf16_kernels() {
#if defined(__x86_64__)
  return {&N_AVX3::amx_bf16_pack, &N_AVX3::amx_bf16_tile};
#else
  return {};
#endif
}

}  // namespace block_attention
#endif
