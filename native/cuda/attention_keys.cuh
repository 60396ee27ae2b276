// Which keys a tile of rows looks at, in which order.
#pragma once

#include "cuda/attention_tiles.hpp"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

struct KeyRange {
  int first;
  int last;  // first >= last: none
};

DEVICE_FN int smaller(int a, int b) { return a < b ? a : b; }
DEVICE_FN int larger(int a, int b) { return a > b ? a : b; }

// The keys of a segment that a row of this rotation sees.
DEVICE_FN KeyRange visible_keys(int rotation, int length, int window) {
  return {window > 0 ? larger(rotation + 1 - window, 0) : 0, smaller(length, rotation + 1)};
}

// Walks steps of kKeys keys of which some row of a tile sees one, in key order. Steps are a grid
// from each segment's first key, so that they do not depend on the tile.
template <int kKeys>
struct KeyWalk {
  static_assert(kCutKeys % kKeys == 0);

  int segment;   // in AttentionArguments::segments
  int left;      // segments of the tile after this one; the walk is over when it is negative
  int key;       // the step's first
  int end;       // of the keys that the tile sees in this segment
  int base;      // number of the segment's first cut
  int length;    // of the segment
  int rotation;  // of the segment
  const PageId* pages;

  DEVICE_FN static KeyWalk begin(const AttentionArguments& arguments, const AttentionTile* tile) {
    KeyWalk walk{};
    walk.segment = ldg(&tile->first_segment) - 1;
    walk.left = ldg(&tile->segments);
    walk.base = ldg(&tile->segment_cut);
    walk.find_keys(arguments, tile);
    return walk;
  }

  DEVICE_FN bool over() const { return left < 0; }
  DEVICE_FN int cut() const { return base + key / kCutKeys; }

  // The page of a step that this lane holds: the (lane % pages of a step)-th; 0 behind the last.
  DEVICE_FN int lane_page() const {
    constexpr int kPages = kKeys / kPageTokens;
    if (over()) return 0;
    const int index = key / kPageTokens + static_cast<int>(threadIdx.x) % kPages;
    return index * kPageTokens < length ? ldg(pages + index) : 0;
  }

  DEVICE_FN void next(const AttentionArguments& arguments, const AttentionTile* tile) {
    key += kKeys;
    if (key >= end) find_keys(arguments, tile);
  }

  // Goes on to the next segment of which the tile sees something.
  DEVICE_FN void find_keys(const AttentionArguments& arguments, const AttentionTile* tile) {
    const int first_cut = ldg(&tile->first_cut);
    const int end_cut = first_cut + ldg(&tile->cuts);
    const int lowest = ldg(&tile->lowest_rotation);
    const int highest = ldg(&tile->highest_rotation);
#pragma unroll 1
    while (--left >= 0) {
      const AttentionSegment* from = arguments.segments + ++segment;
      base += (length + kCutKeys - 1) / kCutKeys;
      length = ldg(&from->length);
      rotation = ldg(&from->rotation);
      int first = visible_keys(rotation + lowest, length, arguments.window).first;
      end = visible_keys(rotation + highest, length, arguments.window).last;
      first = larger(first, (first_cut - base) * kCutKeys);
      end = smaller(end, (end_cut - base) * kCutKeys);
      if (first >= end) continue;
      key = first / kKeys * kKeys;
      pages = arguments.pages + ldg(&from->first_page);
      return;
    }
  }
};

}  // namespace block_attention::cuda
