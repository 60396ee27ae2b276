// Who computes what in one step's attention; made once per step, used by every layer (windows
// differ between layers, so they are not part of it). It decides about speed only: results are the
// same bits whatever it decides.
//
// Two kinds of task, each for one kv head. A fold is a range of tokens of one sequence against all
// its cuts, in key order; nothing is written out but the result. A split is one cut of a block
// against all rows that see it, also of several sequences: more parallelism for few rows over long
// contexts, and one read of a block that several sequences use. It writes partials, which a merge
// folds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/backend.hpp"

namespace block_attention {

struct AttentionPlanLimits {
  int32_t threads = 1;
  int32_t num_kv_heads = 1;
  int32_t group = 1;  // query heads per kv head
  int32_t head_dim = 0;
  int64_t max_partial_floats = int64_t{8}
                               << 20;  // memory for partials; what does not fit is folded
};

class CpuAttentionPlan : public AttentionPlan {
 public:
  // Rows of a fold task at most (tokens times group; a single token may exceed it).
  static constexpr int32_t kMaxFoldRows = 192;

  enum class Mode { kAuto, kFold, kSplit };  // the latter two for tests and benchmarks

  struct Segment {
    std::span<const PageId> pages;
    int32_t length = 0;
    int32_t rotation = 0;       // of the sequence's first row
    int32_t first_partial = 0;  // index of its first cut among the sequence's cuts
  };
  struct Sequence {
    int32_t first_row = 0;
    int32_t rows = 0;
    int32_t first_segment = 0;
    int32_t segments = 0;
    bool split = false;
    int32_t cuts = 0;           // over all segments
    int64_t first_partial = 0;  // partials lie as [kv head][cut][row][head of the group], in states
  };
  struct FoldTask {
    int32_t sequence = 0;
    int32_t first_token = 0;
    int32_t tokens = 0;
  };
  struct Member {
    int32_t sequence = 0;
    int32_t segment = 0;
  };
  struct SplitTask {
    int32_t cut = 0;  // within the segment
    int32_t first_member = 0;
    int32_t members = 0;
  };
  struct MergeTask {
    int32_t sequence = 0;
    int32_t first_token = 0;
    int32_t tokens = 0;
  };
  // Fold task `index` if index < folds.size(), else split task index - folds.size().
  struct Item {
    int32_t index = 0;
    double cost = 0;
  };

  void build(const Step& step, const AttentionPlanLimits& limits, Mode mode = Mode::kAuto);

  // What it was made of.
  const Step& step() const { return step_; }
  const std::vector<Sequence>& sequences() const { return sequences_; }
  const std::vector<Segment>& segments() const { return segments_; }
  const std::vector<FoldTask>& folds() const { return folds_; }
  const std::vector<Member>& members() const { return members_; }
  const std::vector<SplitTask>& splits() const { return splits_; }
  const std::vector<MergeTask>& merges() const { return merges_; }
  // All fold and split tasks, the costliest first.
  const std::vector<Item>& items() const { return items_; }
  int32_t rows() const { return rows_; }
  int64_t partials() const { return partials_; }    // states
  int64_t positions() const { return positions_; }  // rotations are below this

 private:
  double visible_keys(const Sequence& sequence, int32_t first_token, int32_t tokens) const;
  double cost(double keys, double rows) const;
  int32_t fold_tokens(const Sequence& sequence, double most) const;
  void copy(const Step& step);
  void choose_split(Mode mode);
  void mark_shared();
  void mark_unbalanced();
  void add_folds(double total);
  void add_splits();
  double makespan();

  AttentionPlanLimits limits_;
  Step step_;
  int32_t rows_ = 0;
  int64_t partials_ = 0;
  int64_t positions_ = 0;
  std::vector<Sequence> sequences_;
  std::vector<Segment> segments_;
  std::vector<FoldTask> folds_;
  std::vector<Member> members_;
  std::vector<SplitTask> splits_;
  std::vector<MergeTask> merges_;
  std::vector<Item> items_;
  std::vector<double> loads_;  // per worker, of a trial schedule
};

}  // namespace block_attention
