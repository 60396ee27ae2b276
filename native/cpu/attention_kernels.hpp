// The inner kernels of attention: packed rows against one cut of one segment, and what joins the
// cuts of a row.
//
// The state of a row is head_dim output sums, unnormalised, then the maximum of its scores and the
// sum of the weights (state_size() floats; scores are in base 2). A row that has seen nothing has
// maximum -inf and sum 0, and its output is not looked at; one that has seen a key has a sum of at
// least 1, or NaN. Cuts are folded into a state in key order, always by the same arithmetic, so it
// makes no difference whether one worker folds cut after cut or the cuts were written out and
// folded later.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cpu/isa.hpp"

namespace block_attention {

// Keys per cut. The grid starts at every segment's first key; changing it changes bits (it is part
// of the numerics id).
constexpr int32_t kCutKeys = 256;
constexpr int32_t kPanel = 16;  // keys of a page, which lie in vector lanes
constexpr int32_t kCutPages = kCutKeys / kPanel;
constexpr int32_t kMaxHeadDim = 256;

constexpr int32_t padded_head_dim(int32_t head_dim) { return (head_dim + 15) / 16 * 16; }
constexpr int32_t state_size(int32_t head_dim) { return padded_head_dim(head_dim) + 16; }

// One row, that is one head of one token, at one cut.
struct AttentionRow {
  const float* q;     // [head_dim], not rotated
  const float* rope;  // cos and sin of its rotation (RopeTable::row)
  float* state;
  int32_t first;  // the keys it sees, counted from the start of the cut; first < last
  int32_t last;
};

struct AttentionCut {
  const void* k[kCutPages];  // per page, as in kv_layout.hpp; null beyond the last
  const void* v[kCutPages];
  DType dtype;  // kBF16, kF32, or kI8 with scales (kv_storage.hpp)
};

struct AttentionShape {
  int32_t head_dim;     // a multiple of 8, at most kMaxHeadDim
  int32_t rotary_half;  // half of the rotated dims
  float scale;          // of the scores, times log2(e)
};

struct AttentionKernels {
  int32_t tile_rows;  // that are computed at once, if pages are bf16
  // Floats of scratch memory that attend() needs, aligned to 64 bytes.
  int64_t (*scratch_size)(const AttentionShape& shape);
  // Folds the cut into the state of every row. `next`, which may be null, is the cut that this
  // worker takes up afterwards: its pages are asked for meanwhile.
  void (*attend)(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                 const AttentionRow* rows, int32_t count, float* scratch);
  // Folds partials, which attend() left in empty states for a later cut, into states. Row i of
  // either lies at i * state_size(); no partial is empty.
  void (*fold)(int32_t head_dim, const float* partials, int32_t count, float* states);
  // out[i] = output of state i, normalised; zeros for a row that saw nothing. Row i at out + i *
  // head_dim.
  void (*finish)(int32_t head_dim, const float* states, int32_t count, float* out);
};

AttentionKernels attention_kernels(Isa isa, int32_t head_dim);

}  // namespace block_attention
