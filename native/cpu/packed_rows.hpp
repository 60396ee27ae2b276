// Reading a stack of matrices panel by panel, for whatever packs them: every source row is read
// once, a few panels at a time, so that the parts may lie in files.
#pragma once

#include <cstdint>
#include <span>

#include "core/function_ref.hpp"
#include "core/tensor.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

// Output features whose values of one input lie side by side in a packed weight.
inline constexpr int64_t kPanelColumns = 16;

constexpr int64_t panels_of(int64_t out_features) {
  return (out_features + kPanelColumns - 1) / kPanelColumns;
}

// The rows of one panel of the stack, in their stored precision; the last panel may have fewer
// than 16.
struct PanelRows {
  int64_t panel;
  int64_t columns;
  const void* rows[kPanelColumns];
};

// Calls `pack` once for every panel, from several threads. Passes on what reading throws; throws
// Error(kOutOfMemory). `parts` have the same dtype and in_features (model/stacked_shape.hpp).
void for_each_panel(ThreadPool& pool, std::span<const HostMatrix> parts,
                    FunctionRef<void(const PanelRows&)> pack);

// A bias in whole panels, zeros behind it; empty if there is none. Throws Error(kOutOfMemory).
Buffer panel_bias(std::span<const float> bias);

}  // namespace block_attention
