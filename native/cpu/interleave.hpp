// Rows to columns: dst[k * step + i] = rows[i][k] for i < count, k < length. This makes the panels
// of a packed weight (step 16) and the row groups of repacked activations (step = rows in the
// group). Rows may be unaligned.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

struct InterleaveKernels {
  void (*words16)(const void* const* rows, int64_t count, int64_t length, void* dst, int64_t step);
  void (*words32)(const void* const* rows, int64_t count, int64_t length, void* dst, int64_t step);
};

InterleaveKernels interleave_kernels(Isa isa);

}  // namespace block_attention
