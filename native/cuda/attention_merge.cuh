// Joins the partials of rows that several tiles, or several spans of one, left: cuts to spans and
// spans to results, in key order.
#pragma once

#include "cuda/attention_state.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

inline constexpr int kMergeWarps = 4;
inline constexpr int kMergeThreads = kMergeWarps * 32;
// Partials that are asked for at once: one row must not wait for memory once per cut.
inline constexpr int kMergedAtOnce = 8;

template <int kVectors>
DEVICE_FN void join_vectors(RowState& state, F32x4 (&outputs)[kVectors], const RowState& later,
                            const F32x4 (&values)[kVectors]) {
  const JoinWeights weights = join(state, later);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      outputs[v].x[j] = join_output(weights, outputs[v].x[j], values[v].x[j]);
    }
  }
}

// One warp per query head of a merged token; a lane has kVectors times four neighbouring dims.
// Grid: (tokens, heads / kMergeWarps, rounded up).
template <typename E, int kVectors>
__global__ void __launch_bounds__(kMergeThreads)
    attention_merge_kernel(AttentionArguments arguments) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int head = static_cast<int>(blockIdx.y) * kMergeWarps + static_cast<int>(threadIdx.x) / 32;
  if (head >= arguments.kv_heads * arguments.group) return;
  const MergedToken* token = arguments.merged + blockIdx.x;
  const int entries = ldg(&token->entries);
  const int span_entries = ldg(&token->span_entries);
  const int64_t step = ldg(&token->entry_partials);
  const int64_t first = int64_t{ldg(&token->partial)} +
                        int64_t{head / arguments.group} * ldg(&token->head_partials) +
                        head % arguments.group;

  RowState state = empty_state();
  F32x4 outputs[kVectors] = {};
  RowState span = empty_state();
  F32x4 span_outputs[kVectors] = {};
  for (int entry = 0; entry < entries; entry += kMergedAtOnce) {
    RowState later[kMergedAtOnce];
    F32x4 values[kMergedAtOnce][kVectors];
#pragma unroll
    for (int i = 0; i < kMergedAtOnce; ++i) {
      later[i] = empty_state();
      if (entry + i >= entries) continue;
      const int64_t index = first + (entry + i) * step;
      later[i] = load_stats(arguments.partials, index);
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int dim = (v * 32 + lane) * 4;
        values[i][v] = F32x4{};
        if (dim >= arguments.head_dim) continue;
        values[i][v] = ldg(reinterpret_cast<const F32x4*>(arguments.partials.outputs +
                                                          index * arguments.head_dim + dim));
      }
    }
#pragma unroll
    for (int i = 0; i < kMergedAtOnce; ++i) {
      if (entry + i >= entries) continue;
      join_vectors(span, span_outputs, later[i], values[i]);
      const int next = entry + i + 1;
      if (next % span_entries != 0 && next != entries) continue;
      join_vectors(state, outputs, span, span_outputs);
      span = empty_state();
#pragma unroll
      for (int v = 0; v < kVectors; ++v) span_outputs[v] = F32x4{};
    }
  }

  const float inverse = inverse_sum(state);
  E* to = static_cast<E*>(arguments.out) + ldg(&token->row) * arguments.out_stride +
          int64_t{head} * arguments.head_dim;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int dim = (v * 32 + lane) * 4;
    if (dim >= arguments.head_dim) continue;
    U32x2 words;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      words.x[j] = pack<E>(outputs[v].x[2 * j] * inverse, outputs[v].x[2 * j + 1] * inverse);
    }
    stg(reinterpret_cast<U32x2*>(to + dim), words);
  }
}

}  // namespace block_attention::cuda
