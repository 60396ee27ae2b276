// How the output of a product is shared out: blocks of row groups times runs of panels, a task for
// each.
#pragma once

#include <cstdint>

#include "core/function_ref.hpp"
#include "cpu/packed_rows.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

struct TilePart {
  int64_t row_group_from;
  int64_t row_group_to;
  int64_t panel_from;
  int64_t panel_to;
  int64_t next_panel;  // where its worker's next part most likely begins
};

// The element of the whole output that lies at `out`: all of it, or a part, may have room there.
struct OutputOrigin {
  int64_t row = 0;
  int64_t panel = 0;
};

// Puts features `first` to `end`, of which a last panel has fewer than 16, from a panel of their
// own to the rows of the output.
inline void copy_ragged_panel(const float* panel, int64_t rows, int64_t first, int64_t end,
                              float* out, int64_t out_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = first; j < end; ++j)
      out[i * out_stride + j] = panel[i * kPanelColumns + j - first];
  }
}

// Calls `body` for `blocks` blocks of `row_groups` row groups, of nearly equal size, times runs of
// at most `chunk` of `panels` panels, so that a worker's next part mostly lies behind its last one.
// It must not throw. `next`: what the run of tasks after this one reads.
void for_each_tile_part(ThreadPool& pool, int64_t row_groups, int64_t blocks, int64_t panels,
                        int64_t chunk, FunctionRef<void(const TilePart& part, int worker)> body,
                        const NextReads& next);

}  // namespace block_attention
