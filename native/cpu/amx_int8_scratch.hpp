// What a worker needs to multiply int8 weights by AMX, beside the sums in its first-level cache.
#pragma once

#include <cstdint>

#include "cpu/int8_format.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/packed_rows.hpp"

namespace block_attention {

// Panels that are multiplied at once, side by side in memory: of a weight [gate; up] one of either.
inline constexpr int64_t kAmxInt8Panels = 2;
// Groups of inputs that all panels of a part are multiplied by before the next ones, so that their
// activations stay in the second-level cache.
inline constexpr int64_t kAmxInt8BlockGroups = 32;
// Groups of rows of a part.
inline constexpr int64_t kAmxInt8PartRowGroups = 16;
// Panels of a part, of either half.
inline constexpr int64_t kAmxInt8PartPanels = 8;

// Second terms of a block of inputs: the rows of a part that have one, group of inputs by group,
// side by side, since few rows have one and a product takes as long for one row as for 16. As many
// as three groups of rows can have; a part that has more is taken in pieces.
inline constexpr int64_t kAmxSeconds = 3 * kInt8MostRows * kAmxInt8BlockGroups;

struct AmxInt8Scratch {
  // Which second terms these are: of what call (Int8Tile::call), of which groups of rows, and of
  // the block of inputs that begins with which group.
  struct {
    uint64_t call;
    int64_t from;
    int64_t to;
    int64_t first_group;
  } gathered;
  // As activations are kept. Whole tiles are loaded and stored, whatever lies behind the last row.
  alignas(64) char second_values[(kAmxSeconds + kInt8MostRows) * kInt8RowBytes];
  float second_scales[kAmxSeconds];
  // Of the panels that are multiplied at once: [row][panel x 16].
  alignas(64) int32_t second_sums[(kAmxSeconds + kInt8MostRows) * kAmxInt8Panels * kPanelColumns];
  // The first of a group of rows, for every group of inputs of the block.
  int32_t seconds_begin[kAmxInt8PartRowGroups][kAmxInt8BlockGroups];
  // Where those of a group of inputs end.
  int32_t seconds_end[kAmxInt8BlockGroups];
  // Sums of the blocks before, of gates and ups.
  alignas(64) float blocks[kAmxInt8PartRowGroups * kInt8MostRows * kAmxInt8PartPanels *
                           kAmxInt8Panels * kPanelColumns];
};

}  // namespace block_attention
