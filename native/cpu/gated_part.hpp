// SwiGLU right behind the product whose output it takes: a part of the output is gated by the
// worker that computed it, while it is in that worker's caches.
#pragma once

#include <cstdint>

#include "core/function_ref.hpp"
#include "core/tensor.hpp"
#include "cpu/packed_rows.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {

// Of a weight [gate; up], both of whole panels.
struct Gate {
  // out[i] = silu(gate[i]) * up[i], i < n; out may be gate.
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* out);
  Tensor out;  // [rows, features of either]
};

// Whether a product of `rows` rows is worth it. Few rows wait for memory, which is read best as it
// lies, gates first.
constexpr bool can_be_gated(int64_t out_features, int64_t rows) {
  return rows > 8 && out_features % (2 * kPanelColumns) == 0;
}

// The output of a part, of one half.
struct GatedPart {
  int64_t rows;
  int64_t columns;
  float* scratch;  // [rows, 2 x columns]: gates, ups
};

// Computes `part`, whose panels are of the gate, and its like of `half` panels further on, by
// product(part, out, out_stride): row i of the part's rows, its first panel in front, at out + i *
// out_stride. Row i of the result goes to out + i * out_stride; that may be the scratch memory.
void compute_gated(const Gate& gate, const GatedPart& gated, const TilePart& part, int64_t half,
                   float* out, int64_t out_stride,
                   FunctionRef<void(const TilePart& part, float* out, int64_t out_stride)> product);

}  // namespace block_attention
