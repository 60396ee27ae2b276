#include "model/attention_plan.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace block_attention {
namespace {

// Of fewer rows there is little in a worker's caches.
constexpr int32_t kRowsPerRun = 64;
// How much longer the busiest worker may take where rows stay in the caches of their workers.
constexpr double kWorthRowsInCaches = 1.05;
// Numbers of fold tasks that are tried, about.
constexpr int32_t kTrials = 8;
// What the busiest worker may have more to do where most kv heads are read once instead of twice.
constexpr double kWorthAReadLess = 0.01;

template <typename Each>
void for_each_fold(const AttentionTasks::Sequence& sequence, int32_t tokens, Each each) {
  for (int32_t first = 0; first < sequence.rows; first += tokens)
    each(first, std::min(tokens, sequence.rows - first));
}

}  // namespace

int32_t AttentionTasks::cuts_of(int32_t length) const {
  return (length + limits_.cut_keys - 1) / limits_.cut_keys;
}

bool AttentionTasks::same_pages(const Segment& a, const Segment& b) const {
  if (a.length != b.length) return false;
  if (a.pages.data() == b.pages.data()) return true;
  const auto used = static_cast<size_t>((a.length + limits_.page_tokens - 1) / limits_.page_tokens);
  return std::equal(a.pages.begin(), a.pages.begin() + static_cast<std::ptrdiff_t>(used),
                    b.pages.begin());
}

void AttentionTasks::build(const Step& step, const AttentionPlanLimits& limits, Mode mode) {
  limits_ = limits;
  folds_.clear();
  members_.clear();
  splits_.clear();
  merges_.clear();
  items_.clear();
  partials_ = 0;
  copy(step);
  choose_split(mode);

  double total = 0;
  for (const Sequence& sequence : sequences_) {
    total += cost(visible_keys(sequence, 0, sequence.rows), sequence.rows * limits_.group);
  }
  items_.clear();
  folds_.clear();
  add_folds(total * limits_.num_kv_heads);
  add_splits();
  std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) {
    return a.cost != b.cost ? a.cost > b.cost : a.index < b.index;
  });
  add_tasks();
}

void AttentionTasks::add_tasks() {
  tasks_.clear();
  for (const Item& item : items_) {
    for (int32_t head = 0; head < item.heads; ++head)
      tasks_.push_back({item.index, item.first_head + head, item.cost});
  }
  in_runs_ = false;
  if (!limits_.rows_in_runs || limits_.workers < 2 || !splits_.empty() ||
      rows_ < kRowsPerRun * limits_.workers) {
    return;
  }
  costs_ = items_;
  const double most = makespan(0) * kWorthRowsInCaches;
  by_cost_ = tasks_;
  arrange_in_runs();
  in_runs_ = makespan_in_runs() <= most;
  if (!in_runs_) tasks_ = by_cost_;
}

void AttentionTasks::arrange_in_runs() {
  const auto row = [&](const Task& task) {
    const FoldTask& fold = folds_[static_cast<size_t>(task.index)];
    return sequences_[static_cast<size_t>(fold.sequence)].first_row + fold.first_token;
  };
  const auto lies_before = [&](const Task& a, const Task& b) {
    return row(a) != row(b) ? row(a) < row(b) : a.kv_head < b.kv_head;
  };
  std::sort(tasks_.begin(), tasks_.end(), lies_before);
  for (int64_t run = 0; run < limits_.workers; ++run) {
    std::sort(tasks_.begin() + run_begin(run), tasks_.begin() + run_begin(run + 1),
              [&](const Task& a, const Task& b) {
                return a.cost != b.cost ? a.cost > b.cost : lies_before(a, b);
              });
  }
}

int64_t AttentionTasks::run_begin(int64_t run) const {
  return run * static_cast<int64_t>(tasks_.size()) / limits_.workers;
}

// The load of the busiest worker if each takes the tasks of its run, and then the last ones of
// others'.
double AttentionTasks::makespan_in_runs() {
  const int64_t workers = limits_.workers;
  loads_.assign(static_cast<size_t>(workers), 0);
  runs_.clear();
  for (int64_t run = 0; run < workers; ++run) runs_.push_back({run_begin(run), run_begin(run + 1)});
  for (size_t taken = 0; taken < tasks_.size(); ++taken) {
    const auto free = std::min_element(loads_.begin(), loads_.end()) - loads_.begin();
    for (int64_t i = 0; i < workers; ++i) {
      auto& [begin, end] = runs_[static_cast<size_t>((free + i) % workers)];
      if (begin == end) continue;
      const int64_t task = i == 0 ? begin++ : --end;
      loads_[static_cast<size_t>(free)] += tasks_[static_cast<size_t>(task)].cost;
      break;
    }
  }
  return *std::max_element(loads_.begin(), loads_.end());
}

void AttentionTasks::copy(const Step& step) {
  step_ = step;
  rows_ = step.rows();
  positions_ = 0;
  sequences_.clear();
  segments_.clear();
  for (const StepSequence& from : step.sequences) {
    Sequence sequence;
    sequence.first_row = from.first_row;
    sequence.rows = from.rows;
    sequence.first_segment = static_cast<int32_t>(segments_.size());
    sequence.segments = static_cast<int32_t>(from.segments.size());
    for (const StepSegment& segment : from.segments) {
      segments_.push_back({segment.pages, segment.length, segment.rotation, sequence.cuts});
      sequence.cuts += cuts_of(segment.length);
      positions_ = std::max(positions_, int64_t{segment.rotation} + from.rows);
    }
    sequences_.push_back(sequence);
  }
}

// Keys that the last of the tokens sees, less half of what the causal limit hides from the others.
// No window.
double AttentionTasks::visible_keys(const Sequence& sequence, int32_t first_token,
                                    int32_t tokens) const {
  double keys = 0;
  for (int32_t i = 0; i < sequence.segments; ++i) {
    const int32_t index = sequence.first_segment + i;
    const Segment& segment = segments_[static_cast<size_t>(index)];
    const double last = segment.rotation + first_token + tokens;
    const double first = segment.rotation + first_token + 1;
    const double length = segment.length;
    keys += (std::clamp(first, 0.0, length) + std::clamp(last, 0.0, length)) / 2;
  }
  return keys;
}

double AttentionTasks::cost(double keys, double rows) const {
  const double tiles = std::ceil(rows / limits_.tile_rows);
  return keys * std::max(rows + tiles * limits_.tile_cost, limits_.read_rows);
}

// Such that no fold task of the sequence costs more than `most`, as far as min_fold_rows allows; or
// more, where fewer tasks are dealt out more evenly: each reads all keys.
AttentionTasks::FoldSizes AttentionTasks::fold_sizes(const Sequence& sequence, double most) {
  const int32_t group = limits_.group;
  const int32_t kv_heads = limits_.num_kv_heads;
  const int32_t largest = std::max(1, limits_.max_fold_rows / group);
  const int32_t smallest = std::clamp((limits_.min_fold_rows + group - 1) / group, 1, largest);
  const double keys = std::max(1.0, visible_keys(sequence, sequence.rows - 1, 1));
  const auto affordable = static_cast<int32_t>(std::min(most / keys / group, 1e6));
  const int32_t tokens = std::clamp(affordable, smallest, largest);
  const auto tasks_of = [&](int32_t size) { return (sequence.rows + size - 1) / size; };
  const auto size_of = [&](int32_t tasks) { return (sequence.rows + tasks - 1) / tasks; };
  const int32_t most_tasks = tasks_of(tokens);
  FoldSizes best{size_of(most_tasks)};
  // With more tasks than that, one more or less makes no difference.
  if (most_tasks * kv_heads >= 2 * limits_.tasks_per_worker * limits_.workers) return best;
  // Whole tiles come from so many tokens.
  const int32_t whole = limits_.tile_rows / std::gcd(limits_.tile_rows, group);
  const int32_t fewest = tasks_of(largest);
  const int32_t step = std::max(1, (most_tasks - fewest) / kTrials);
  double least = std::numeric_limits<double>::infinity();
  const auto try_all = [&](int32_t whole_heads) {
    for (int32_t tasks = fewest; tasks <= most_tasks; tasks += step) {
      const int32_t even = size_of(tasks);
      for (const int32_t size :
           {even, even + 1, even / whole * whole, (even / whole + 1) * whole}) {
        if (size < smallest || size > largest) continue;
        costs_.clear();
        if (whole_heads > 0) add_costs(sequence, size_of(fewest), whole_heads);
        add_costs(sequence, size, kv_heads - whole_heads);
        const double load = makespan(0);
        if (load >= least) continue;
        least = load;
        best = {size, whole_heads, size_of(fewest)};
      }
    }
  };
  try_all(0);
  const int32_t even_heads = kv_heads / limits_.workers * limits_.workers;
  if (!limits_.folds_by_head || even_heads == 0 || even_heads == kv_heads) return best;
  // As good is better: fewer tasks read all keys.
  least *= 1 + kWorthAReadLess;
  try_all(even_heads);
  return best;
}

void AttentionTasks::add_costs(const Sequence& sequence, int32_t tokens, int32_t heads) {
  for_each_fold(sequence, tokens, [&](int32_t first, int32_t count) {
    const double keys = visible_keys(sequence, first, count);
    costs_.push_back({0, cost(keys, count * limits_.group), 0, heads});
  });
}

void AttentionTasks::choose_split(Mode mode) {
  if (mode == Mode::kFold) return;
  mark_shared();
  if (mode == Mode::kAuto) {
    if (limits_.workers > 1) mark_unbalanced();
  } else {
    for (Sequence& sequence : sequences_) sequence.split = true;
  }
  for (Sequence& sequence : sequences_) {
    if (!sequence.split) continue;
    const int64_t states =
        int64_t{sequence.rows} * limits_.group * sequence.cuts * limits_.num_kv_heads;
    if (sequence.cuts < 2 ||
        (partials_ + states) * limits_.state_floats > limits_.max_partial_floats) {
      sequence.split = false;
      continue;
    }
    sequence.first_partial = partials_;
    partials_ += states;
  }
}

// Splits the sequences of few rows of which at least a quarter of the keys is read by another such
// sequence, too.
void AttentionTasks::mark_shared() {
  const auto candidate = [this](const Sequence& s) {
    return s.rows * limits_.group <= limits_.max_shared_rows;
  };
  members_.clear();
  for (size_t s = 0; s < sequences_.size(); ++s) {
    if (candidate(sequences_[s])) collect_members(sequences_[s], static_cast<int32_t>(s));
  }
  sort_members();
  loads_.assign(sequences_.size(), 0.0);  // shared keys per sequence
  for (size_t i = 0; i < members_.size(); ++i) {
    const Segment& segment = segments_[static_cast<size_t>(members_[i].segment)];
    const bool as_before =
        i > 0 && same_pages(segment, segments_[static_cast<size_t>(members_[i - 1].segment)]);
    const bool as_after =
        i + 1 < members_.size() &&
        same_pages(segment, segments_[static_cast<size_t>(members_[i + 1].segment)]);
    if (as_before || as_after) loads_[static_cast<size_t>(members_[i].sequence)] += segment.length;
  }
  for (size_t s = 0; s < sequences_.size(); ++s) {
    Sequence& sequence = sequences_[s];
    sequence.shares =
        candidate(sequence) && loads_[s] * 4 >= visible_keys(sequence, 0, sequence.rows);
    sequence.split = sequence.shares;
  }
  members_.clear();
}

// If fold tasks alone would leave workers idle, splits the sequences with large ones.
void AttentionTasks::mark_unbalanced() {
  double total = 0;
  for (const Sequence& sequence : sequences_) {
    total += cost(visible_keys(sequence, 0, sequence.rows), sequence.rows * limits_.group);
  }
  total *= limits_.num_kv_heads;
  const double share = total / limits_.workers;
  add_folds(total);
  costs_ = items_;
  // Split already: many small tasks.
  double spread = 0;
  for (const Sequence& sequence : sequences_) {
    if (!sequence.split) continue;
    spread += cost(visible_keys(sequence, 0, sequence.rows), sequence.rows * limits_.group);
  }
  if (makespan(spread * limits_.num_kv_heads / limits_.workers) > 1.1 * share) {
    for (size_t i = 0; i < folds_.size(); ++i) {
      const FoldTask& task = folds_[i];
      Sequence& sequence = sequences_[static_cast<size_t>(task.sequence)];
      const double keys = visible_keys(sequence, task.first_token, task.tokens);
      const bool large =
          cost(keys, task.tokens * limits_.group) * 2 * limits_.tasks_per_worker > share;
      if (large && sequence.rows * limits_.group <= limits_.max_split_rows) sequence.split = true;
    }
  }
  items_.clear();
  folds_.clear();
}

// The load of the busiest worker if tasks of these costs, the costliest first, are dealt out to
// whoever is free, beside work of `spread` that each of them has. In runs they are dealt out nearly
// as well (kWorthRowsInCaches).
double AttentionTasks::makespan(double spread) {
  std::sort(costs_.begin(), costs_.end(),
            [](const Item& a, const Item& b) { return a.cost > b.cost; });
  loads_.assign(static_cast<size_t>(limits_.workers), spread);  // a heap, the smallest on top
  for (const Item& item : costs_) {
    for (int32_t head = 0; head < item.heads; ++head) {
      std::pop_heap(loads_.begin(), loads_.end(), std::greater<>());
      loads_.back() += item.cost;
      std::push_heap(loads_.begin(), loads_.end(), std::greater<>());
    }
  }
  return *std::max_element(loads_.begin(), loads_.end());
}

void AttentionTasks::add_folds(double total) {
  const double most = total / limits_.workers / limits_.tasks_per_worker;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const Sequence& sequence = sequences_[s];
    if (sequence.split || sequence.rows == 0) continue;
    const FoldSizes sizes = fold_sizes(sequence, most);
    const auto index = static_cast<int32_t>(s);
    if (sizes.whole_heads > 0) add_folds_of(index, sizes.whole_tokens, 0, sizes.whole_heads);
    add_folds_of(index, sizes.tokens, sizes.whole_heads, limits_.num_kv_heads - sizes.whole_heads);
  }
}

void AttentionTasks::add_folds_of(int32_t sequence, int32_t tokens, int32_t first_head,
                                  int32_t heads) {
  const Sequence& of = sequences_[static_cast<size_t>(sequence)];
  for_each_fold(of, tokens, [&](int32_t first, int32_t count) {
    const auto index = static_cast<int32_t>(folds_.size());
    items_.push_back(
        {index, cost(visible_keys(of, first, count), count * limits_.group), first_head, heads});
    folds_.push_back({sequence, first, count, first_head, heads});
  });
}

void AttentionTasks::collect_members(const Sequence& sequence, int32_t index) {
  for (int32_t i = 0; i < sequence.segments; ++i) {
    const int32_t segment = sequence.first_segment + i;
    const Segment& of = segments_[static_cast<size_t>(segment)];
    if (of.length > 0) members_.push_back({index, segment, of.pages[0]});
  }
}

// Those of a block side by side.
void AttentionTasks::sort_members() {
  std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) {
    return a.first_page != b.first_page ? a.first_page < b.first_page : a.segment < b.segment;
  });
}

void AttentionTasks::add_splits() {
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const Sequence& sequence = sequences_[s];
    if (!sequence.split) continue;
    collect_members(sequence, static_cast<int32_t>(s));
    const int32_t tokens = std::max(1, limits_.merge_rows / limits_.group);
    for (int32_t first = 0; first < sequence.rows; first += tokens) {
      merges_.push_back({static_cast<int32_t>(s), first, std::min(tokens, sequence.rows - first)});
    }
  }
  sort_members();
  const auto segment_of = [this](const Member& m) -> const Segment& {
    return segments_[static_cast<size_t>(m.segment)];
  };
  for (size_t begin = 0; begin < members_.size();) {
    size_t end = begin + 1;
    int32_t rows = sequences_[static_cast<size_t>(members_[begin].sequence)].rows;
    while (end < members_.size() &&
           same_pages(segment_of(members_[begin]), segment_of(members_[end]))) {
      rows += sequences_[static_cast<size_t>(members_[end].sequence)].rows;
      ++end;
    }
    const int32_t length = segment_of(members_[begin]).length;
    for (int32_t cut = 0; cut < cuts_of(length); ++cut) {
      const double keys = std::min(limits_.cut_keys, length - cut * limits_.cut_keys);
      const double packed = static_cast<double>(rows) * limits_.group;
      items_.push_back({static_cast<int32_t>(folds_.size() + splits_.size()),
                        cost(keys, packed) + packed * limits_.partial_keys, 0,
                        limits_.num_kv_heads});
      splits_.push_back({cut, static_cast<int32_t>(begin), static_cast<int32_t>(end - begin)});
    }
    begin = end;
  }
}

}  // namespace block_attention
