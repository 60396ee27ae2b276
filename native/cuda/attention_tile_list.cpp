#include "cuda/attention_tile_list.hpp"

#include <algorithm>

namespace block_attention::cuda {

void AttentionTileList::build(const AttentionTasks& tasks, int32_t group, const TileRows& rows) {
  few_.clear();
  many_.clear();
  tokens_.clear();
  segments_.clear();
  pages_.clear();
  merged_.clear();
  place_folded(tasks);
  place_split(tasks, group);
  const size_t folds = tasks.folds().size();
  for (const AttentionTasks::Item& item : tasks.items()) {
    const auto index = static_cast<size_t>(item.index);
    if (index < folds) {
      const AttentionTasks::FoldTask& task = tasks.folds()[index];
      const auto sequence = static_cast<size_t>(task.sequence);
      const Place& place = folded_[sequence];
      add({place.first_token + task.first_token, task.tokens, place.first_segment,
           tasks.sequences()[sequence].segments, kEveryCut, 0, 0},
          group, rows);
      continue;
    }
    const Place& place = split_[index - folds];
    const int32_t most = std::max(1, rows.many / group);
    for (int32_t first = 0; first < place.tokens; first += most) {
      add({place.first_token + first, std::min(most, place.tokens - first), place.first_segment, 1,
           tasks.splits()[index - folds].cut, 0, 0},
          group, rows);
    }
  }
}

void AttentionTileList::add(const AttentionTile& tile, int32_t group, const TileRows& rows) {
  AttentionTile added = tile;
  const auto token = [&](int32_t i) { return tokens_[static_cast<size_t>(tile.first_token + i)]; };
  added.lowest_rotation = added.highest_rotation = token(0).rotation;
  for (int32_t i = 1; i < tile.tokens; ++i) {
    added.lowest_rotation = std::min(added.lowest_rotation, token(i).rotation);
    added.highest_rotation = std::max(added.highest_rotation, token(i).rotation);
  }
  (tile.tokens * group <= rows.few ? few_ : many_).push_back(added);
}

void AttentionTileList::add_segment(const AttentionTasks::Segment& segment, int32_t rotation) {
  segments_.push_back({static_cast<int32_t>(pages_.size()), segment.length, rotation});
  const int32_t used = (segment.length + kPageTokens - 1) / kPageTokens;
  pages_.insert(pages_.end(), segment.pages.begin(), segment.pages.begin() + used);
}

// A folded sequence's tokens are counted from its first row, its segments rotate them on.
void AttentionTileList::place_folded(const AttentionTasks& tasks) {
  folded_.assign(tasks.sequences().size(), {});
  for (size_t s = 0; s < folded_.size(); ++s) {
    const AttentionTasks::Sequence& sequence = tasks.sequences()[s];
    if (sequence.split) continue;
    folded_[s] = {static_cast<int32_t>(tokens_.size()), sequence.rows,
                  static_cast<int32_t>(segments_.size())};
    for (int32_t t = 0; t < sequence.rows; ++t) {
      tokens_.push_back({sequence.first_row + t, t, 0, 0, 0});
    }
    for (int32_t i = 0; i < sequence.segments; ++i) {
      const AttentionTasks::Segment& segment =
          tasks.segments()[static_cast<size_t>(sequence.first_segment + i)];
      add_segment(segment, segment.rotation);
    }
  }
}

// Tasks of one block have the same members, and so the same tokens; the rotation is the token's.
void AttentionTileList::place_split(const AttentionTasks& tasks, int32_t group) {
  split_.clear();
  int32_t last_member = -1;
  for (const AttentionTasks::SplitTask& task : tasks.splits()) {
    if (task.first_member == last_member) {
      split_.push_back(split_.back());
      continue;
    }
    last_member = task.first_member;
    Place place = {static_cast<int32_t>(tokens_.size()), 0, static_cast<int32_t>(segments_.size())};
    for (int32_t m = 0; m < task.members; ++m) {
      const AttentionTasks::Member& member =
          tasks.members()[static_cast<size_t>(task.first_member + m)];
      const AttentionTasks::Sequence& sequence =
          tasks.sequences()[static_cast<size_t>(member.sequence)];
      const AttentionTasks::Segment& segment =
          tasks.segments()[static_cast<size_t>(member.segment)];
      if (m == 0) add_segment(segment, 0);
      const int32_t cut_partials = sequence.rows * group;
      const auto first =
          static_cast<int32_t>(sequence.first_partial) + segment.first_partial * cut_partials;
      for (int32_t t = 0; t < sequence.rows; ++t) {
        tokens_.push_back({sequence.first_row + t, segment.rotation + t, first + t * group,
                           cut_partials, sequence.cuts * cut_partials});
      }
      place.tokens += sequence.rows;
    }
    split_.push_back(place);
  }
  for (const AttentionTasks::Sequence& sequence : tasks.sequences()) {
    if (!sequence.split) continue;
    const int32_t cut_partials = sequence.rows * group;
    for (int32_t t = 0; t < sequence.rows; ++t) {
      merged_.push_back({sequence.first_row + t,
                         static_cast<int32_t>(sequence.first_partial) + t * group, cut_partials,
                         sequence.cuts * cut_partials, sequence.cuts});
    }
  }
}

}  // namespace block_attention::cuda
