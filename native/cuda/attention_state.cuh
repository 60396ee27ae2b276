// What a row knows of the keys that it has seen, and how cuts are joined: one arithmetic for the
// kernel that folds cut after cut and for the one that merges what other blocks left, so that both
// give the same bits.
#pragma once

#include <cmath>

#include "cuda/attention_tiles.hpp"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// Without its outputs, which are sums over keys, not normalised.
struct RowState {
  float maximum;  // of the scores, in base 2; -inf if no key was seen
  float sum;      // of the weights; 0 if no key was seen
};

DEVICE_FN RowState empty_state() { return {-INFINITY, 0.0f}; }

// The maximum to subtract from scores: one that a row without keys may subtract, too.
DEVICE_FN float finite_base(float maximum) { return maximum == -INFINITY ? 0.0f : maximum; }

// Factors of the outputs so far and of those of a later cut.
struct JoinWeights {
  float before;
  float later;
};

// Joins a later cut. Flash attention's merge (Dao et al. 2022, section 3.1). One that saw no key
// changes nothing, not even a bit, so that it makes no difference whether it is joined at all.
DEVICE_FN JoinWeights join(RowState& state, const RowState& later) {
  const float maximum = fmaxf(state.maximum, later.maximum);
  const float base = finite_base(maximum);
  const JoinWeights weights = {exp2_approx(state.maximum - base),
                               exp2_approx(later.maximum - base)};
  state.sum = fmaf(later.sum, weights.later, state.sum * weights.before);
  state.maximum = maximum;
  return weights;
}

// Starts from 0 and never gives -0, which adding nothing would turn into 0.
DEVICE_FN float join_output(const JoinWeights& weights, float before, float later) {
  return fmaf(later, weights.later, before * weights.before) + 0.0f;
}

// What outputs are multiplied with in the end. A row that saw nothing has outputs of zero.
DEVICE_FN float inverse_sum(const RowState& state) {
  return 1.0f / (state.sum == 0.0f ? 1.0f : state.sum);
}

// ---- partials in memory

DEVICE_FN int64_t partial_index(const AttentionToken* token, int kv_head, int entry, int head) {
  return int64_t{ldg(&token->partial)} + int64_t{kv_head} * ldg(&token->head_partials) +
         int64_t{entry} * ldg(&token->entry_partials) + head;
}

// Whether no entry of the tile follows this one.
DEVICE_FN bool is_last_entry(const AttentionTile* tile, int entry) {
  return (entry + 1) * ldg(&tile->entry_cuts) >= ldg(&tile->first_cut) + ldg(&tile->cuts);
}

// Which entry of a tile is being computed.
struct EntryWalk {
  int entry;

  DEVICE_FN static EntryWalk begin(const AttentionTile* tile) {
    return {ldg(&tile->first_cut) / ldg(&tile->entry_cuts)};
  }
  // Leaves the entries before the one that the cut belongs to: the one that was computed, and those
  // of which the tile sees no key.
  template <typename Leave>
  DEVICE_FN void go_to(const AttentionTile* tile, int cut, Leave leave) {
    const int wanted = cut / ldg(&tile->entry_cuts);
#pragma unroll 1
    for (; entry < wanted; ++entry) leave(entry);
  }
  // Leaves all that are left.
  template <typename Leave>
  DEVICE_FN void finish(const AttentionTile* tile, Leave leave) {
    go_to(tile, ldg(&tile->first_cut) + ldg(&tile->cuts) + ldg(&tile->entry_cuts) - 1, leave);
  }
};

DEVICE_FN void store_stats(const PartialSums& partials, int64_t index, const RowState& state) {
  stg(reinterpret_cast<F32x2*>(partials.stats + 2 * index), F32x2{{state.maximum, state.sum}});
}

DEVICE_FN RowState load_stats(const PartialSums& partials, int64_t index) {
  const F32x2 stats = ldg(reinterpret_cast<const F32x2*>(partials.stats + 2 * index));
  return {stats.x[0], stats.x[1]};
}

}  // namespace block_attention::cuda
