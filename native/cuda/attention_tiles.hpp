// A step's attention as the kernels read it: plain arrays on the device.
#pragma once

#include <cstdint>

#include "cuda/kv_storage.hpp"

namespace block_attention::cuda {

// Keys per cut. The grid starts at every segment's first key; changing it changes bits (it is part
// of the numerics id). Long enough that a partial costs little beside the keys that it stands for,
// short enough that one long decode occupies a whole GPU.
inline constexpr int32_t kCutKeys = 512;

// Keys of a step, after which the softmax's maximum is looked at: part of the arithmetic, so one
// for all tensor-core kernels of a head_dim (rounded up to a multiple of 64). More have no room in
// registers beside outputs of 256 dims.
constexpr int attention_step_keys(int padded_dim) { return padded_dim <= 128 ? 64 : 16; }

// Cuts per span, counted over all segments of a sequence. Cuts are joined to spans, and spans to
// results, both in key order: also part of the arithmetic. What takes several spans leaves partials
// of whole spans, so that short documents cost no partial each.
inline constexpr int32_t kSpanCuts = 8;

// One token of a tile. `rotation` adds to that of the tile's segments.
struct AttentionToken {
  int32_t row;  // of q and out
  int32_t rotation;
  // Where entry 0 of kv head 0 lies, in partials.
  int32_t partial;
  int32_t entry_partials;  // from one entry to the next
  int32_t head_partials;   // from one kv head to the next
};

struct AttentionSegment {
  int32_t first_page;  // in AttentionArguments::pages
  int32_t length;
  int32_t rotation;
};

// The query heads of one kv head of some tokens, packed as rows (token by token), against cuts
// first_cut and on of the segments. Cuts are numbered on from one segment to the next.
struct AttentionTile {
  int32_t first_token;
  int32_t tokens;
  int32_t first_segment;
  int32_t segments;
  int32_t segment_cut;  // number of the first segment's first cut
  int32_t first_cut;
  int32_t cuts;
  // Cuts of an entry: 1, kSpanCuts, or kEveryCut. Entry i has the cuts from i * entry_cuts on.
  int32_t entry_cuts;
  // Whether the tile has all entries of its rows and leaves results; its tokens' partials, one for
  // each row, then keep the entries so far. Else each entry leaves a partial.
  int32_t results;
  int32_t lowest_rotation;  // of its tokens
  int32_t highest_rotation;
};
// More than there are.
inline constexpr int32_t kEveryCut = 1 << 20;

// A token whose rows are merged from the partials of `entries` entries.
struct MergedToken {
  int32_t row;
  int32_t partial;
  int32_t entry_partials;
  int32_t head_partials;
  int32_t entries;
  int32_t span_entries;  // that are joined to a span first
};

// Of partials: maximum of the scores (in base 2) and sum of the weights. The sum is zero if the row
// saw no key of the entry, and so are its outputs then.
struct PartialSums {
  float* outputs;  // [partials][head_dim], not normalised
  float* stats;    // [partials][2]
};

struct AttentionArguments {
  const void* q;  // not rotated
  void* out;
  int64_t q_stride;  // elements
  int64_t out_stride;
  KvView kv;
  PartialSums partials;
  const AttentionTile* tiles;
  const AttentionToken* tokens;
  const AttentionSegment* segments;
  const PageId* pages;
  const MergedToken* merged;
  const float* rope;  // [position][cos, then sin, of half angles]
  int32_t half;
  int32_t layer;
  int32_t kv_heads;
  int32_t group;
  int32_t head_dim;
  int32_t window;  // 0: none
  float scale;     // of the scores, times log2(e)
};

}  // namespace block_attention::cuda
