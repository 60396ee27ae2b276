#include "cuda/attention_tile_list.hpp"

#include <algorithm>
#include <numeric>

namespace block_attention::cuda {
namespace {

// How much longer a step may take with partials of spans than with those of cuts, which balance
// better: those have to be written and read.
constexpr double kSpansMayTake = 1.5;

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

}  // namespace

void AttentionTileList::Kind::clear() {
  added.clear();
  keys.clear();
  total = 0;
}

void AttentionTileList::Kind::sort(std::vector<int32_t>& order) {
  order.resize(added.size());
  std::iota(order.begin(), order.end(), 0);
  const auto keys_of = [this](int32_t i) { return keys[static_cast<size_t>(i)]; };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return keys_of(a) != keys_of(b) ? keys_of(a) > keys_of(b) : a < b;
  });
  tiles.clear();
  for (const int32_t i : order) tiles.push_back(added[static_cast<size_t>(i)]);
}

void AttentionTileList::build(const AttentionTasks& tasks, const TileLimits& limits) {
  limits_ = limits;
  few_.clear();
  many_.clear();
  few_.workers = limits.few_workers;
  many_.workers = limits.many_workers;
  tokens_.clear();
  segments_.clear();
  pages_.clear();
  merged_.clear();
  partials_ = 0;
  place_sequences(tasks);
  mark_shared(tasks);
  add_ranges(tasks);
  choose_entries(tasks);
  add_arrays(tasks);
  add_own_tiles(tasks);
  add_shared_tiles(tasks);
  few_.sort(order_);
  many_.sort(order_);
}

void AttentionTileList::place_sequences(const AttentionTasks& tasks) {
  places_.assign(tasks.sequences().size(), {});
  int32_t cuts = 0;
  for (size_t s = 0; s < places_.size(); ++s) {
    places_[s].first_cut = cuts;
    cuts += tasks.sequences()[s].cuts;
  }
  shared_cuts_.assign(static_cast<size_t>(cuts), 0);
}

// A sequence that little is gained for computes its cuts itself: one block that it has in common
// with others must not make it leave a partial for each cut.
void AttentionTileList::mark_shared(const AttentionTasks& tasks) {
  for (const AttentionTasks::SplitTask& task : tasks.splits()) {
    if (sharers(tasks, task) < 2) continue;
    for (int32_t m = 0; m < task.members; ++m) {
      const auto& member = tasks.members()[static_cast<size_t>(task.first_member + m)];
      if (!tasks.sequences()[static_cast<size_t>(member.sequence)].shares) continue;
      const auto& segment = tasks.segments()[static_cast<size_t>(member.segment)];
      const Place& place = places_[static_cast<size_t>(member.sequence)];
      shared_cuts_[static_cast<size_t>(place.first_cut + segment.first_partial + task.cut)] = 1;
    }
  }
}

// Members of the task whose sequences share blocks.
int32_t AttentionTileList::sharers(const AttentionTasks& tasks,
                                   const AttentionTasks::SplitTask& task) {
  int32_t count = 0;
  for (int32_t m = 0; m < task.members; ++m) {
    const auto& member = tasks.members()[static_cast<size_t>(task.first_member + m)];
    count += tasks.sequences()[static_cast<size_t>(member.sequence)].shares ? 1 : 0;
  }
  return count;
}

// The rows of tiles, of which runs of cuts are made later.
void AttentionTileList::add_ranges(const AttentionTasks& tasks) {
  ranges_.clear();
  for (const AttentionTasks::FoldTask& task : tasks.folds()) {
    ranges_.push_back({task.sequence, task.first_token, task.tokens});
  }
  const int32_t most = std::max(1, limits_.rows.many / limits_.group);
  for (size_t s = 0; s < places_.size(); ++s) {
    const AttentionTasks::Sequence& sequence = tasks.sequences()[s];
    Place& place = places_[s];
    for (int32_t i = 0; i < sequence.segments; ++i) {
      const auto& segment = tasks.segments()[static_cast<size_t>(sequence.first_segment + i)];
      for (int32_t first = 0; first < segment.length; first += kCutKeys) {
        const int32_t cut = segment.first_partial + first / kCutKeys;
        if (shared_cuts_[static_cast<size_t>(place.first_cut + cut)] == 0)
          place.keys += std::min(kCutKeys, segment.length - first);
      }
    }
    if (!sequence.split || sequence.rows == 0) continue;
    // As many in each: what is left over would be a tile of few rows that looks at all keys.
    const int32_t even = ceil_div(sequence.rows, ceil_div(sequence.rows, most));
    for (int32_t first = 0; first < sequence.rows; first += even) {
      ranges_.push_back({static_cast<int32_t>(s), first, std::min(even, sequence.rows - first)});
    }
  }
  for (const Range& range : ranges_) {
    kind_of(range.tokens).total += places_[static_cast<size_t>(range.sequence)].keys;
  }
}

// So many that all blocks have something to do, and each about as much.
int32_t AttentionTileList::runs_of(const Range& range) const {
  const Kind& kind = range.tokens * limits_.group <= limits_.rows.few ? few_ : many_;
  const double share = kind.total * limits_.kv_heads / kind.workers;
  const double keys = places_[static_cast<size_t>(range.sequence)].keys;
  return std::max(1, static_cast<int32_t>(keys / std::max(share, 1.0)));
}

void AttentionTileList::choose_entries(const AttentionTasks& tasks) {
  for (const Range& range : ranges_) {
    const AttentionTasks::Sequence& sequence =
        tasks.sequences()[static_cast<size_t>(range.sequence)];
    Place& place = places_[static_cast<size_t>(range.sequence)];
    place.results = !sequence.split;
    if (place.results) {
      place.entry_cuts = sequence.cuts <= kSpanCuts ? kEveryCut : kSpanCuts;
      continue;
    }
    const int32_t spans = ceil_div(sequence.cuts, kSpanCuts);
    const int32_t runs = runs_of(range);
    const int32_t of_spans = ceil_div(spans, runs) * kSpanCuts;
    const int32_t of_cuts = ceil_div(sequence.cuts, runs);
    // The rows of a sequence have the same entries in all tiles, so the first range decides.
    if (range.first_token > 0) continue;
    place.entry_cuts =
        !sequence.shares && spans > 1 && of_spans <= kSpansMayTake * of_cuts ? kSpanCuts : 1;
  }
}

void AttentionTileList::add_segment(const AttentionTasks::Segment& segment, int32_t rotation) {
  segments_.push_back({static_cast<int32_t>(pages_.size()), segment.length, rotation});
  const int32_t used = ceil_div(segment.length, kPageTokens);
  pages_.insert(pages_.end(), segment.pages.begin(), segment.pages.begin() + used);
}

// A sequence's tokens are counted from its first row, and its segments rotate them on.
void AttentionTileList::add_arrays(const AttentionTasks& tasks) {
  for (size_t s = 0; s < places_.size(); ++s) {
    const AttentionTasks::Sequence& sequence = tasks.sequences()[s];
    Place& place = places_[s];
    place.first_token = static_cast<int32_t>(tokens_.size());
    place.first_segment = static_cast<int32_t>(segments_.size());
    const int32_t entry_partials = sequence.rows * limits_.group;
    if (place.entry_cuts != kEveryCut) {
      place.entries = place.results ? 1 : ceil_div(sequence.cuts, place.entry_cuts);
      place.first_partial = static_cast<int32_t>(partials_);
      partials_ += int64_t{place.entries} * entry_partials * limits_.kv_heads;
    }
    const int32_t head_partials = place.entries * entry_partials;
    for (int32_t t = 0; t < sequence.rows; ++t) {
      const int32_t partial = place.first_partial + t * limits_.group;
      tokens_.push_back({sequence.first_row + t, t, partial, entry_partials, head_partials});
      if (place.results) continue;
      merged_.push_back({sequence.first_row + t, partial, entry_partials, head_partials,
                         place.entries, kSpanCuts / place.entry_cuts});
    }
    for (int32_t i = 0; i < sequence.segments; ++i) {
      const auto& segment = tasks.segments()[static_cast<size_t>(sequence.first_segment + i)];
      add_segment(segment, segment.rotation);
    }
  }
}

// Runs of cuts that no other sequence uses.
void AttentionTileList::add_own_tiles(const AttentionTasks& tasks) {
  for (const Range& range : ranges_) {
    const AttentionTasks::Sequence& sequence =
        tasks.sequences()[static_cast<size_t>(range.sequence)];
    const Place& place = places_[static_cast<size_t>(range.sequence)];
    if (place.results) {
      add_run(tasks, range, 0, place.entry_cuts == kEveryCut ? kEveryCut : sequence.cuts);
      continue;
    }
    const int32_t most = ceil_div(place.entries, runs_of(range)) * place.entry_cuts;
    const auto shared = [&](int32_t cut) {
      return shared_cuts_[static_cast<size_t>(place.first_cut + cut)] != 0;
    };
    for (int32_t first = 0; first < sequence.cuts;) {
      if (shared(first)) {
        ++first;
        continue;
      }
      int32_t end = first + 1;
      while (end < sequence.cuts && end - first < most && !shared(end)) ++end;
      add_run(tasks, range, first, end - first);
      first = end;
    }
  }
}

void AttentionTileList::add_run(const AttentionTasks& tasks, const Range& range, int32_t first_cut,
                                int32_t cuts) {
  const AttentionTasks::Sequence& sequence = tasks.sequences()[static_cast<size_t>(range.sequence)];
  const Place& place = places_[static_cast<size_t>(range.sequence)];
  const auto begin = tasks.segments().begin() + sequence.first_segment;
  const auto end = begin + sequence.segments;
  const auto starts_behind = [](int32_t cut, const AttentionTasks::Segment& segment) {
    return cut < segment.first_partial;
  };
  // Of segments without keys, which begin where the next one does, the last.
  auto segment = std::upper_bound(begin, end, first_cut, starts_behind);
  if (segment != begin) --segment;
  const int32_t end_cut = std::min(sequence.cuts, first_cut + cuts);
  AttentionTile tile{};
  tile.first_token = place.first_token + range.first_token;
  tile.tokens = range.tokens;
  tile.first_segment = place.first_segment + static_cast<int32_t>(segment - begin);
  tile.segment_cut = segment == end ? 0 : segment->first_partial;
  tile.first_cut = first_cut;
  tile.cuts = cuts;
  tile.entry_cuts = place.entry_cuts;
  tile.results = place.results ? 1 : 0;
  double keys = 0;
  for (; segment != end && segment->first_partial < end_cut; ++segment) {
    ++tile.segments;
    const int32_t first = std::max(0, (first_cut - segment->first_partial) * kCutKeys);
    const int32_t last = std::min({segment->length, (end_cut - segment->first_partial) * kCutKeys,
                                   segment->rotation + range.first_token + range.tokens});
    keys += std::max(0, last - first);
  }
  add(tile, keys);
}

// One cut of a block against the rows of all sequences that use it. Cuts are numbered from the
// block's begin, and what rotates a token is its own.
void AttentionTileList::add_shared_tiles(const AttentionTasks& tasks) {
  int32_t last_member = -1;
  int32_t first_token = 0;
  int32_t tokens = 0;
  const int32_t most = std::max(1, limits_.rows.many / limits_.group);
  for (const AttentionTasks::SplitTask& task : tasks.splits()) {
    if (sharers(tasks, task) < 2) continue;
    // Tasks of one block have the same members, and so the same tokens.
    if (task.first_member != last_member) {
      last_member = task.first_member;
      first_token = static_cast<int32_t>(tokens_.size());
      bool first_member = true;
      for (int32_t m = 0; m < task.members; ++m) {
        const auto& member = tasks.members()[static_cast<size_t>(task.first_member + m)];
        const auto& sequence = tasks.sequences()[static_cast<size_t>(member.sequence)];
        const auto& segment = tasks.segments()[static_cast<size_t>(member.segment)];
        const Place& place = places_[static_cast<size_t>(member.sequence)];
        if (!sequence.shares) continue;
        if (first_member) add_segment(segment, 0);
        first_member = false;
        for (int32_t t = 0; t < sequence.rows; ++t) {
          AttentionToken token = tokens_[static_cast<size_t>(place.first_token + t)];
          token.rotation = segment.rotation + t;
          token.partial += segment.first_partial * token.entry_partials;
          tokens_.push_back(token);
        }
      }
      tokens = static_cast<int32_t>(tokens_.size()) - first_token;
    }
    const AttentionSegment& block = segments_.back();
    AttentionTile tile{};
    tile.first_segment = static_cast<int32_t>(segments_.size()) - 1;
    tile.segments = 1;
    tile.first_cut = task.cut;
    tile.cuts = 1;
    tile.entry_cuts = 1;
    for (int32_t first = 0; first < tokens; first += most) {
      tile.first_token = first_token + first;
      tile.tokens = std::min(most, tokens - first);
      add(tile, std::min(kCutKeys, block.length - task.cut * kCutKeys));
    }
  }
}

void AttentionTileList::add(const AttentionTile& tile, double keys) {
  AttentionTile added = tile;
  const auto token = [&](int32_t i) { return tokens_[static_cast<size_t>(tile.first_token + i)]; };
  added.lowest_rotation = added.highest_rotation = token(0).rotation;
  for (int32_t i = 1; i < tile.tokens; ++i) {
    added.lowest_rotation = std::min(added.lowest_rotation, token(i).rotation);
    added.highest_rotation = std::max(added.highest_rotation, token(i).rotation);
  }
  Kind& kind = kind_of(tile.tokens);
  kind.added.push_back(added);
  kind.keys.push_back(keys);
}

}  // namespace block_attention::cuda
