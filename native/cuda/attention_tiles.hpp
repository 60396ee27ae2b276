// A step's attention as the kernels read it: plain arrays on the device.
#pragma once

#include <cstdint>

#include "cuda/kv_storage.hpp"

namespace block_attention::cuda {

// Keys per cut. The grid starts at every segment's first key; changing it changes bits (it is part
// of the numerics id). Long enough that a partial costs little beside the keys that it stands for,
// short enough that one long decode occupies a whole GPU.
inline constexpr int32_t kCutKeys = 512;

// One token of a tile. `rotation` adds to that of the tile's segments.
struct AttentionToken {
  int32_t row;  // of q and out
  int32_t rotation;
  // Of a tile that leaves partials: where those of its first cut and kv head lie, in partials.
  int32_t partial;
  int32_t cut_partials;   // from one cut to the next
  int32_t head_partials;  // from one kv head to the next
};

struct AttentionSegment {
  int32_t first_page;  // in AttentionArguments::pages
  int32_t length;
  int32_t rotation;
};

// The query heads of one kv head of some tokens, packed as rows (token by token), against segments.
struct AttentionTile {
  int32_t first_token;
  int32_t tokens;
  int32_t first_segment;
  int32_t segments;
  int32_t cut;              // the only one to look at, which leaves partials; or kEveryCut
  int32_t lowest_rotation;  // of its tokens
  int32_t highest_rotation;
};
inline constexpr int32_t kEveryCut = -1;

// A token whose rows are merged from the partials of `cuts` cuts.
struct MergedToken {
  int32_t row;
  int32_t partial;
  int32_t cut_partials;
  int32_t head_partials;
  int32_t cuts;
};

// Of partials: maximum of the scores (in base 2) and sum of the weights. The sum is zero if the row
// saw no key of the cut; its output is then not looked at.
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
