// Products over weights in pairs of bf16 by AMX: one tile of the output, computed by one worker.
//
// Every output element is summed in one order, whatever the tile and the rows of the call: inputs
// in blocks of 2 x kSumBlock; in a block by tile steps of 32 inputs, whose even inputs are one
// chain of fused multiply-adds from zero and whose odd ones are another; the two added, and added
// to the block's sum; the sums of the blocks added in order; the bias last. Every result is rounded
// to nearest even, and subnormal numbers count as zero.
#pragma once

#include <cstdint>

#include "cpu/linear_kernels.hpp"

namespace block_attention {

// Pairs of inputs of one tile multiplication, and rows of one.
inline constexpr int64_t kAmxStepPairs = 16;
inline constexpr int64_t kAmxGroupRows = 16;

// Activations are rounded, group of rows by group of rows (row_groups.hpp); of a group, for
// kAmxStepPairs at a time, the rows side by side. What is left of the last of these is zero, and
// kAmxGroupRows more of them can be read behind the last group.
constexpr int64_t amx_padded_pairs(int64_t pairs) {
  return (pairs + kAmxStepPairs - 1) / kAmxStepPairs * kAmxStepPairs;
}

// Panels that are computed at once: work is best dealt out in multiples of it.
inline constexpr int64_t kAmxTilePanels = 2;

// Only for Isa::kAmxBf16.
void (*amx_bf16_kernel())(const LinearTile& tile);

}  // namespace block_attention
