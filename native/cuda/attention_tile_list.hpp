// The attention plan as the arrays that kernels read: tasks cut into tiles of rows and runs of
// cuts, and what tiles refer to. Host memory; CudaAttention brings it to the device.
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

// What the list is made for.
struct TileLimits {
  int32_t kv_heads = 1;
  int32_t group = 1;  // query heads per kv head
  TileRows rows;
  // Blocks of either kind that run at once, about.
  int32_t few_workers = 1;
  int32_t many_workers = 1;
};

class AttentionTileList {
 public:
  // Kept in its memory from step to step. No token has more than rows.many rows, and no fold task
  // of the plan either.
  void build(const AttentionTasks& tasks, const TileLimits& limits);

  // The costliest first.
  const std::vector<AttentionTile>& few() const { return few_.tiles; }
  const std::vector<AttentionTile>& many() const { return many_.tiles; }
  const std::vector<AttentionToken>& tokens() const { return tokens_; }
  const std::vector<AttentionSegment>& segments() const { return segments_; }
  const std::vector<PageId>& pages() const { return pages_; }
  const std::vector<MergedToken>& merged() const { return merged_; }
  int64_t partials() const { return partials_; }

 private:
  // Tiles of a kind, and the keys that each looks at.
  struct Kind {
    std::vector<AttentionTile> tiles;  // sorted in the end
    std::vector<AttentionTile> added;
    std::vector<double> keys;  // of those added
    double total = 0;          // of all tiles, before they are cut into runs
    int32_t workers = 1;

    void clear();
    void sort(std::vector<int32_t>& order);
  };
  // Where the arrays hold a sequence, and the entries that its partials are.
  struct Place {
    int32_t first_token = 0;
    int32_t first_segment = 0;
    int32_t first_cut = 0;  // in shared_cuts_
    int32_t entry_cuts = kEveryCut;
    bool results = true;
    int32_t entries = 0;  // that have partials
    int32_t first_partial = 0;
    double keys = 0;  // of cuts that it does not share
  };
  // Tokens of a sequence that a tile holds.
  struct Range {
    int32_t sequence = 0;
    int32_t first_token = 0;
    int32_t tokens = 0;
  };

  Kind& kind_of(int32_t tokens) {
    return tokens * limits_.group <= limits_.rows.few ? few_ : many_;
  }
  void place_sequences(const AttentionTasks& tasks);
  void mark_shared(const AttentionTasks& tasks);
  static int32_t sharers(const AttentionTasks& tasks, const AttentionTasks::SplitTask& task);
  void add_ranges(const AttentionTasks& tasks);
  void choose_entries(const AttentionTasks& tasks);
  void add_arrays(const AttentionTasks& tasks);
  void add_segment(const AttentionTasks::Segment& segment, int32_t rotation);
  void add_own_tiles(const AttentionTasks& tasks);
  void add_run(const AttentionTasks& tasks, const Range& range, int32_t first_cut, int32_t cuts);
  void add_shared_tiles(const AttentionTasks& tasks);
  void add(const AttentionTile& tile, double keys);
  int32_t runs_of(const Range& range) const;

  TileLimits limits_;
  Kind few_;
  Kind many_;
  std::vector<AttentionToken> tokens_;
  std::vector<AttentionSegment> segments_;
  std::vector<PageId> pages_;
  std::vector<MergedToken> merged_;
  int64_t partials_ = 0;
  std::vector<Place> places_;         // per sequence
  std::vector<uint8_t> shared_cuts_;  // per sequence and cut: another sequence uses it, too
  std::vector<Range> ranges_;
  std::vector<int32_t> order_;
};

}  // namespace block_attention::cuda
