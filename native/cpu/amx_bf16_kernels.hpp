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
#include "cpu/packed_rows.hpp"
#include "cpu/tile_parts.hpp"

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

// Pairs of inputs that all panels of a tile are multiplied by before the next ones, so that their
// activations stay in the second-level cache.
inline constexpr int64_t kAmxReach = 2 * kSumBlock;
// Most rows of a tile.
inline constexpr int64_t kAmxBlockRows = 512;
// Panels that are computed at once: work is best dealt out in multiples of it.
inline constexpr int64_t kAmxTilePanels = 2;
// Most panels of a tile.
inline constexpr int64_t kAmxPartPanels = 8;

struct AmxScratch {
  // Sums of one block of inputs while the next is multiplied.
  alignas(64) float block[kAmxBlockRows * kAmxTilePanels * kPanelColumns];
  // Of gates and ups, sums of the reaches before.
  alignas(64) float reaches[kAmxBlockRows * kAmxPartPanels * kPanelColumns];
  // The last tile of each panel, and the last panel's output, where they are ragged.
  alignas(64) float tiles[kAmxTilePanels][kAmxStepPairs * kPanelColumns];
  alignas(64) float ragged[kAmxBlockRows * kPanelColumns];
};

struct AmxTile {
  const float* x;
  int64_t rows;
  int64_t groups;

  // The whole weight (linear_weight.hpp); bias may be null. Of a weight [gate; up] `half` is the
  // panels of either, and the output is SwiGLU's; otherwise 0.
  const float* panels;
  int64_t steps;
  int64_t out_features;
  const float* bias;
  int64_t half;

  // Output: row i at out + i * out_stride. With `stream` past the caches: it begins at a multiple
  // of a cache line, and so does every row.
  float* out;
  int64_t out_stride;
  bool stream;
  // Or SwiGLU's output as the activations of the next product: so many pairs a row, in the same
  // groups of rows, at out. Otherwise 0.
  int64_t packed_pairs;

  // What of it to compute: kAmxBlockRows and, of either half, kAmxPartPanels / 2 panels at most.
  TilePart part;

  AmxScratch* scratch;  // the worker's
};

struct AmxBf16Kernels {
  // One group of rows.
  void (*pack)(const float* x, int64_t x_stride, int64_t rows, int64_t inputs, float* packed);
  void (*tile)(const AmxTile& tile);
};

// Only for Isa::kAmxBf16.
AmxBf16Kernels amx_bf16_kernels();

}  // namespace block_attention
