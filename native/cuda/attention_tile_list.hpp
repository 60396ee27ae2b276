// The attention plan as the arrays that kernels read: tasks cut into tiles of rows, and what tiles
// refer to. Host memory; CudaAttention brings it to the device.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/attention_tiles.hpp"
#include "model/attention_plan.hpp"

namespace block_attention::cuda {

// Rows of the two kinds of tiles: one for decoding (the memory's speed counts), one for more rows.
struct TileRows {
  int32_t few = 0;
  int32_t many = 0;
};

class AttentionTileList {
 public:
  // Kept in its memory from step to step. No token has more than rows.many rows (`group`), and no
  // fold task of the plan either.
  void build(const AttentionTasks& tasks, int32_t group, const TileRows& rows);

  // The costliest first.
  const std::vector<AttentionTile>& few() const { return few_; }
  const std::vector<AttentionTile>& many() const { return many_; }
  const std::vector<AttentionToken>& tokens() const { return tokens_; }
  const std::vector<AttentionSegment>& segments() const { return segments_; }
  const std::vector<PageId>& pages() const { return pages_; }
  const std::vector<MergedToken>& merged() const { return merged_; }

 private:
  // Where the tokens and segments of a sequence that is folded, or of a group of split tasks, lie.
  struct Place {
    int32_t first_token = 0;
    int32_t tokens = 0;
    int32_t first_segment = 0;
  };

  void place_folded(const AttentionTasks& tasks);
  void place_split(const AttentionTasks& tasks, int32_t group);
  void add_segment(const AttentionTasks::Segment& segment, int32_t rotation);
  void add(const AttentionTile& tile, int32_t group, const TileRows& rows);

  std::vector<AttentionTile> few_;
  std::vector<AttentionTile> many_;
  std::vector<AttentionToken> tokens_;
  std::vector<AttentionSegment> segments_;
  std::vector<PageId> pages_;
  std::vector<MergedToken> merged_;
  std::vector<Place> folded_;  // per sequence
  std::vector<Place> split_;   // per split task
};

}  // namespace block_attention::cuda
