// A step: the ragged batch that one forward pass computes, and the pages that are copied before it.
// Views only; the caller keeps the arrays alive.
//
// A sequence is a list of segments in key order, the last of which is its own block, and new rows
// of that own block. Block encoding, a chunk of a final block and a decode are all this (shared
// terms: ARCHITECTURE.md).
#pragma once

#include <cstdint>
#include <span>

namespace block_attention {

using PageId = int32_t;

// One use of a block in one sequence. `rotation` is m - o for the sequence's first row in this
// step: the query's position in its prompt minus the segment's offset there. Row i of the sequence
// has rotation + i, is rotated by it, and sees the local keys j with j < length, j <= rotation + i
// and, on a layer with a window, j > rotation + i - window.
struct StepSegment {
  std::span<const PageId>
      pages;  // the block table: token j lies in pages[j / page_tokens] at slot j % page_tokens
  int32_t length = 0;  // keys in the block once this step's are written
  int32_t rotation = 0;
};

struct StepSequence {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t local_begin = 0;  // local position of the first row in the sequence's own block
  std::span<const StepSegment>
      segments;  // in key order; back() is the own block: rotation == local_begin
};

// The KV states of the first `tokens` slots of a page, in all layers, as a copy in another page.
struct PageCopy {
  PageId from = 0;
  PageId to = 0;
  int32_t tokens = 0;
};

struct Step {
  std::span<const int32_t> tokens;  // one per row
  std::span<const StepSequence> sequences;
  // Done before anything is computed. No page is copied to that is copied from, or twice.
  std::span<const PageCopy> copies = {};

  int32_t rows() const { return static_cast<int32_t>(tokens.size()); }
};

}  // namespace block_attention
