// What the attention plan has to know of the CPU's kernels.
#pragma once

#include <cstdint>
#include <limits>

#include "cpu/attention_kernels.hpp"
#include "model/attention_plan.hpp"

namespace block_attention {

// Rows of a fold task at most: a worker's states stay in its caches.
inline constexpr int32_t kMaxFoldRows = 256;

inline AttentionPlanLimits attention_limits(int32_t threads, int32_t num_kv_heads, int32_t group,
                                            int32_t head_dim, int32_t tile_rows) {
  return {
      .workers = threads,
      .num_kv_heads = num_kv_heads,
      .group = group,
      .max_partial_floats = int64_t{8} << 20,
      .state_floats = state_size(head_dim),
      .cut_keys = kCutKeys,
      .page_tokens = kPanel,
      .max_fold_rows = kMaxFoldRows,
      .min_fold_rows = 48,  // for widening K and V
      .max_shared_rows = 16,
      .max_split_rows = std::numeric_limits<int32_t>::max(),
      .merge_rows = 64,
      .tile_rows = tile_rows,
      .tile_cost = 0.4 * tile_rows,
      .read_rows = 8,
      .partial_keys = 16,
      .tasks_per_worker = 4,
      .rows_in_runs = true,
      .folds_by_head = true,
  };
}

}  // namespace block_attention
