// How many (row, key) pairs attention visits: attention FLOPs = 4 x head_dim x num_heads x pairs,
// per layer.
#pragma once

#include <cstdint>

#include "model/step.hpp"

namespace block_attention {

// Over the rows [first_row, first_row + rows) of the sequence, counted from its first row in the
// step, and all its segments; window 0: none.
int64_t visible_pairs(const StepSequence& sequence, int32_t first_row, int32_t rows,
                      int32_t window);

}  // namespace block_attention
