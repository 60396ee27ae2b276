#include "cpu/gated_part.hpp"

namespace block_attention {

void compute_gated(
    const Gate& gate, const GatedPart& gated, const TilePart& part, int64_t half, float* out,
    int64_t out_stride,
    FunctionRef<void(const TilePart& part, float* out, int64_t out_stride)> product) {
  const int64_t stride = 2 * gated.columns;
  TilePart gates = part;
  TilePart ups = part;
  ups.panel_from += half;
  ups.panel_to += half;
  gates.next_panel = ups.panel_from;
  product(gates, gated.scratch, stride);
  product(ups, gated.scratch + gated.columns, stride);
  for (int64_t row = 0; row < gated.rows; ++row) {
    const float* from = gated.scratch + row * stride;
    gate.swiglu(from, from + gated.columns, gated.columns, out + row * out_stride);
  }
}

}  // namespace block_attention
