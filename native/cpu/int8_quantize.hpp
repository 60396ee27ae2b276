// Floats to the int8 of int8_format.hpp: the panels of a weight, and the activations of a product.
// The same integers and scales on every CPU. A group that holds an infinity or a NaN gets a scale
// of NaN, so that what comes of it is NaN, too.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cpu/int8_format.hpp"
#include "cpu/isa.hpp"
#include "cpu/packed_rows.hpp"

namespace block_attention {

// The activations of a group of rows, as the products read them.
struct Int8Rows {
  // Group by group, row by row: kInt8RowBytes.
  char* values;
  // Group by group, row by row: the scale, and what the sum of the group lacks (kQuads).
  float* scales;
  int32_t* corrections;
};

// Both terms, and for each group of inputs a bit for every row that has a second one. The other
// rows of `second` are not written.
struct Int8Terms {
  Int8Rows first;
  Int8Rows second;
  uint16_t* rows_with_second;
};

// So that rows_with_second has a bit for each.
inline constexpr int64_t kInt8MostRows = 16;

struct Int8QuantizeKernels {
  // One panel of a weight; values are panel bytes, scales one for 64 of them. `error_steps`: of
  // each input of whole groups, what an error of one scale counts, at most kInt8ErrorSteps.
  void (*weights)(const PanelRows& panel, DType dtype, int64_t in_features,
                  const float* error_steps, uint8_t* values, uint16_t* scales);
  // Row i at x + i * stride; at most kInt8MostRows.
  void (*activations)(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                      const Int8Terms& out);
};

Int8QuantizeKernels int8_quantize_kernels(Isa isa, Int8Dot dot);

}  // namespace block_attention
