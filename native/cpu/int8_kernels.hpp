// The arithmetic of `linear` over int8 weights (int8_format.hpp): one tile of the output, computed
// by one worker.
#pragma once

#include <cstdint>

#include "cpu/int8_format.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/isa.hpp"
#include "cpu/row_groups.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {

struct AmxInt8Scratch;

struct Int8Tile {
  // Activations, quantised group of rows by group of rows (row_groups.hpp), one behind the other;
  // of rows_with_second one for each group of rows and of inputs.
  Int8Terms x;
  uint64_t call;  // another one for other activations; never 0
  int64_t rows;
  int64_t row_groups;

  // The whole weight (int8_weight.hpp); bias may be null.
  const uint8_t* values;
  const uint16_t* scales;
  const float* bias;
  int64_t in_features;
  int64_t out_features;
  // Of a weight [gate; up] the panels of either, where the kernel itself gates them and the output
  // is SwiGLU's (Int8Kernels::gates); otherwise 0.
  int64_t half;

  // Output: row i at out + i * out_stride, but for what lies before `origin`. With `stream` past
  // the caches: it begins at a multiple of a cache line, and so does every row.
  float* out;
  int64_t out_stride;
  OutputOrigin origin;
  bool stream;

  // What of it to compute.
  TilePart part;

  // Per worker: kInt8RaggedRows x 16 floats, for a last panel with fewer than 16 features.
  float* ragged;
  // Per worker, for kAmx alone.
  AmxInt8Scratch* amx;
};

inline constexpr int64_t kInt8RaggedRows = 256;

struct Int8Kernels {
  Int8Dot inputs;      // how the activations they read are kept
  int64_t group_rows;  // most rows of a group
  // Panels that are computed at once for `rows` rows: work is best dealt out in multiples of it.
  int64_t (*tile_panels)(int64_t rows);
  void (*tile)(const Int8Tile& tile);
  // Whether `tile` takes a weight [gate; up], and can stream.
  bool gates = false;
  // Groups of rows that are computed together: parts that have whole runs of them are faster.
  int64_t groups_at_once = 1;
};

// For `rows` rows, over weights that are packed for `dot`; whatever the rows, an element has the
// same bits.
Int8Kernels int8_kernels(Isa isa, Int8Dot dot, int64_t rows);

}  // namespace block_attention
