// Who computes what in one step's attention; made once per step, used by every layer (windows
// differ between layers, so they are not part of it). It decides about speed only: results are the
// same bits whatever it decides. Every backend plans with this, each with limits of its own.
//
// Two kinds of task, each for one kv head. A fold is a range of tokens of one sequence against all
// its cuts, in key order; only the result is written out. Ranges may differ between kv heads. A
// split is one cut of a block against all rows that see it, also of several sequences: more
// parallelism for few rows over long contexts, and one read of a block that several sequences use.
// It writes partials, which a merge folds.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "model/backend.hpp"

namespace block_attention {

// What the plan knows of the device and of its kernels.
struct AttentionPlanLimits {
  int32_t workers = 1;  // threads, or as many blocks as run at once
  int32_t num_kv_heads = 1;
  int32_t group = 1;               // query heads per kv head
  int64_t max_partial_floats = 0;  // memory for partials; what does not fit is folded
  int64_t state_floats = 0;        // of one partial

  int32_t cut_keys = 0;       // keys per cut: a grid that starts at every segment's first key
  int32_t page_tokens = 0;    // keys per page
  int32_t max_fold_rows = 0;  // of a fold task (tokens times group; one token may exceed it)
  int32_t min_fold_rows = 0;  // of fewer rows a fold task would spend too much on reading
  // Sequences with more rows than this compute long enough on each key for sharing its read to gain
  // nothing.
  int32_t max_shared_rows = 0;
  // Sequences with more rows than this are not split for balance: partials would cost more.
  int32_t max_split_rows = 0;
  int32_t merge_rows = 0;  // of a merge task, about
  // Costs are in row-key pairs. Rows are computed in tiles of so many, of which each, full or not,
  // costs as much as tile_cost rows beyond its own.
  int32_t tile_rows = 1;
  double tile_cost = 0;
  // Reading a key and its value from memory takes about as long as the
  // arithmetic of this many rows with them.
  double read_rows = 0;
  // Writing a row's partial and folding it takes as long as this many keys.
  double partial_keys = 0;
  // Tasks per worker, so that dealing them out by and by ends evenly.
  double tasks_per_worker = 1;
  // Whether a worker has caches of its own, and makes the rows of a step in runs, as ThreadPool's
  // run_in_order() deals them out.
  bool rows_in_runs = false;
  // Whether token ranges may differ between kv heads: with few workers those of most heads need not
  // be cut, and what cuts them reads their keys once more.
  bool folds_by_head = false;
};

class AttentionTasks : public AttentionPlan {
 public:
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
    bool shares = false;        // reading blocks once with other sequences pays
    int32_t cuts = 0;           // over all segments
    int64_t first_partial = 0;  // partials lie as [kv head][cut][row][head of the group], in states
  };
  struct FoldTask {
    int32_t sequence = 0;
    int32_t first_token = 0;
    int32_t tokens = 0;
    int32_t first_head = 0;  // kv heads that have it: all, unless folds_by_head
    int32_t heads = 0;
  };
  struct Member {
    int32_t sequence = 0;
    int32_t segment = 0;
    PageId first_page = 0;  // of the segment
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
    double cost = 0;  // of each kv head that has it
    int32_t first_head = 0;
    int32_t heads = 0;
  };
  // An item, for one of its kv heads.
  struct Task {
    int32_t index = 0;
    int32_t kv_head = 0;
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
  // Those of all kv heads, the costliest first; with in_runs() the costliest of each run.
  const std::vector<Task>& tasks() const { return tasks_; }
  // Whether tasks come in runs of as many (but for one), one for each worker: of neighbouring rows,
  // which are in the worker's caches if it made them. Others help from the end of a run.
  bool in_runs() const { return in_runs_; }
  int32_t rows() const { return rows_; }
  int64_t partials() const { return partials_; }    // states
  int64_t positions() const { return positions_; }  // rotations are below this

 private:
  double visible_keys(const Sequence& sequence, int32_t first_token, int32_t tokens) const;
  int32_t cuts_of(int32_t length) const;
  bool same_pages(const Segment& a, const Segment& b) const;
  double cost(double keys, double rows) const;
  // Tokens of a fold task of the last kv heads, and of those before, of which there may be none.
  struct FoldSizes {
    int32_t tokens = 0;
    int32_t whole_heads = 0;
    int32_t whole_tokens = 0;
  };
  FoldSizes fold_sizes(const Sequence& sequence, double most);
  void add_costs(const Sequence& sequence, int32_t tokens, int32_t heads);
  void add_folds_of(int32_t sequence, int32_t tokens, int32_t first_head, int32_t heads);
  void copy(const Step& step);
  void choose_split(Mode mode);
  void mark_shared();
  void mark_unbalanced();
  void add_folds(double total);
  void add_splits();
  void add_tasks();
  void arrange_in_runs();
  int64_t run_begin(int64_t run) const;
  double makespan_in_runs();
  void collect_members(const Sequence& sequence, int32_t index);
  void sort_members();
  double makespan(double spread);

  AttentionPlanLimits limits_;
  Step step_;
  int32_t rows_ = 0;
  int64_t partials_ = 0;
  int64_t positions_ = 0;
  bool in_runs_ = false;
  std::vector<Sequence> sequences_;
  std::vector<Segment> segments_;
  std::vector<FoldTask> folds_;
  std::vector<Member> members_;
  std::vector<SplitTask> splits_;
  std::vector<MergeTask> merges_;
  std::vector<Item> items_;
  std::vector<Task> tasks_;
  std::vector<Task> by_cost_;  // tasks_ as they were before they were arranged in runs
  std::vector<std::pair<int64_t, int64_t>> runs_;  // of a trial schedule: what is left of them
  std::vector<Item> costs_;    // of a trial schedule; what they are does not count
  std::vector<double> loads_;  // its workers', or what sequences share
};

}  // namespace block_attention
