// The arithmetic of `linear`: one tile of the output, computed by one worker.
//
// Every output element is summed in one order, whatever the tile, the rows of the call or the
// vector width: steps in blocks of kSumBlock; inside a block one accumulator, steps in order,
// fused multiply-adds; the sums of the blocks added in order; the bias last. (Vectors run over
// output features, never over inputs.) A step is one input in float32 or, of a weight of pairs, two
// inputs that were rounded to bf16: the second is added first (bf16_pairs-inl.hpp). Few rows that
// stand in for AMX tiles are summed in their order (amx_bf16_kernels.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/bf16_pairs.hpp"
#include "cpu/isa.hpp"
#include "cpu/row_groups.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {

inline constexpr int64_t kSumBlock = 512;

// Of a packed weight: the type of its values, kBF16Pairs with two inputs of a feature side by side.
enum class LinearFormat : uint8_t { kF32, kBF16, kF16, kBF16Pairs };

constexpr int64_t linear_steps(LinearFormat format, int64_t in_features) {
  return format == LinearFormat::kBF16Pairs ? bf16_pairs(in_features) : in_features;
}
// Bytes of one feature's weights at a step.
constexpr size_t step_bytes(LinearFormat format) {
  return format == LinearFormat::kF32 || format == LinearFormat::kBF16Pairs ? 4 : 2;
}

// Widest tile of the repacked path: panels widened to float32 at a time, rows of a row block.
inline constexpr int64_t kMaxWidePanels = 2;
inline constexpr int64_t kMaxBlockRows = 256;

struct LinearTile {
  // Activations, rows x steps: floats, or pairs. Direct: row i at x + i * x_stride. Repacked: for
  // each block of kSumBlock steps, for each group, steps x rows of the group (blocks begin at x +
  // rows * first_step).
  const float* x;
  int64_t x_stride;
  int64_t rows;
  int64_t groups;

  // The whole weight (linear_weight.hpp); bias may be null.
  const void* panels;
  LinearFormat format;
  // Whether pairs are summed in the order of AMX tiles (amx_bf16_kernels.hpp); direct only.
  bool order_of_tiles;
  int64_t steps;
  int64_t out_features;
  const float* bias;

  // Output: row i at out + i * out_stride, but for what lies before `origin`.
  float* out;
  int64_t out_stride;
  OutputOrigin origin;

  // What of it to compute. Direct: panels that are computed at once lie `run` panels apart, if that
  // is not 0, and parts number panels in the order in which they are computed.
  TilePart part;
  int64_t run;

  // Per worker: kMaxWidePanels x kSumBlock x 16 floats, kMaxBlockRows x 16 floats.
  float* wide;
  float* ragged;
};

// Most rows that are summed in the order of AMX tiles, by vectors: more of them tiles multiply as
// fast as weights come from memory.
inline constexpr int64_t kOrderOfTilesRows = 3;

struct LinearKernels {
  int64_t group_rows;   // most rows of a group
  int64_t direct_rows;  // up to so many rows are read where they lie
  // Panels that are computed at once for `rows` rows: work is best dealt out in multiples of it.
  int64_t (*tile_panels)(int64_t rows);
  void (*direct)(const LinearTile& tile);
  void (*repacked)(const LinearTile& tile);
};

LinearKernels linear_kernels(Isa isa);

}  // namespace block_attention
