#include "cuda/attention_tile_list.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "attention_cases.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::attention_config;
using block_attention::test::AttentionCase;
using block_attention::test::CasePages;
using block_attention::test::CaseSizes;
using block_attention::test::CaseStep;
using block_attention::test::fill_case;
using block_attention::test::make_step;
using block_attention::test::Random;
using block_attention::test::whole_case;

constexpr int32_t kKvHeads = 2;

AttentionPlanLimits limits(int32_t group, const TileRows& rows) {
  AttentionPlanLimits l;
  l.workers = 8;
  l.num_kv_heads = kKvHeads;
  l.group = group;
  l.max_partial_floats = int64_t{1} << 24;
  l.state_floats = 66;
  l.cut_keys = kCutKeys;
  l.page_tokens = kPageTokens;
  l.max_fold_rows = rows.many;
  l.min_fold_rows = rows.many;
  l.max_shared_rows = 32;
  l.max_split_rows = 512;
  l.merge_rows = rows.many;
  l.read_rows = 64;
  l.partial_keys = 64;
  return l;
}

// Which keys a row (of q) meets: per key its page, its slot there, and the rotation relative to the
// key's position.
using Meeting = std::tuple<int32_t, PageId, int32_t, int32_t>;  // row, page, slot, distance

std::multiset<Meeting> expected_meetings(const CaseStep& step) {
  std::multiset<Meeting> meetings;
  for (const StepSequence& sequence : step.sequences) {
    for (const StepSegment& segment : sequence.segments) {
      for (int32_t t = 0; t < sequence.rows; ++t) {
        for (int32_t key = 0; key < segment.length; ++key) {
          meetings.insert({sequence.first_row + t, segment.pages[static_cast<size_t>(key / 16)],
                           key % 16, segment.rotation + t - key});
        }
      }
    }
  }
  return meetings;
}

void add_meetings(const AttentionTileList& list, const AttentionTile& tile,
                  std::multiset<Meeting>& meetings) {
  for (int32_t i = 0; i < tile.tokens; ++i) {
    const AttentionToken& token = list.tokens()[static_cast<size_t>(tile.first_token + i)];
    ASSERT_LE(tile.lowest_rotation, token.rotation);
    ASSERT_GE(tile.highest_rotation, token.rotation);
    int32_t segment_cut = tile.segment_cut;
    for (int32_t s = 0; s < tile.segments; ++s) {
      const AttentionSegment& segment =
          list.segments()[static_cast<size_t>(tile.first_segment + s)];
      const int32_t first = std::max(0, (tile.first_cut - segment_cut) * kCutKeys);
      const int32_t last =
          std::min(segment.length, (tile.first_cut + tile.cuts - segment_cut) * kCutKeys);
      segment_cut += (segment.length + kCutKeys - 1) / kCutKeys;
      for (int32_t key = first; key < last; ++key) {
        const PageId page = list.pages()[static_cast<size_t>(segment.first_page + key / 16)];
        meetings.insert({token.row, page, key % 16, segment.rotation + token.rotation - key});
      }
    }
  }
}

// Every partial that is merged is left by exactly one tile, and by no two.
void expect_merged(const AttentionTileList& list, int32_t group) {
  std::map<int64_t, int32_t> left;  // row by partial
  size_t kept = 0;                  // of those, what tiles keep for themselves
  for (const auto* tiles : {&list.few(), &list.many()}) {
    for (const AttentionTile& tile : *tiles) {
      ASSERT_EQ(tile.first_cut % tile.entry_cuts, 0);
      // A place of its own for each row, if there is something to keep.
      if (tile.results != 0 && tile.entry_cuts == kEveryCut) continue;
      const int32_t first_entry = tile.first_cut / tile.entry_cuts;
      const int32_t end_entry =
          tile.results != 0 ? first_entry + 1
                            : (tile.first_cut + tile.cuts + tile.entry_cuts - 1) / tile.entry_cuts;
      for (int32_t i = 0; i < tile.tokens; ++i) {
        const AttentionToken& token = list.tokens()[static_cast<size_t>(tile.first_token + i)];
        for (int32_t entry = first_entry; entry < end_entry; ++entry) {
          for (int32_t head = 0; head < group; ++head) {
            for (int32_t kv_head = 0; kv_head < kKvHeads; ++kv_head) {
              const int64_t partial = token.partial + int64_t{entry} * token.entry_partials +
                                      int64_t{kv_head} * token.head_partials + head;
              ASSERT_LT(partial, list.partials());
              ASSERT_TRUE(left.emplace(partial, token.row).second);
              kept += tile.results != 0 ? 1 : 0;
            }
          }
        }
      }
    }
  }
  size_t merged = 0;
  for (const MergedToken& token : list.merged()) {
    for (int32_t entry = 0; entry < token.entries; ++entry) {
      for (int32_t head = 0; head < group; ++head) {
        for (int32_t kv_head = 0; kv_head < kKvHeads; ++kv_head) {
          const auto found = left.find(token.partial + int64_t{entry} * token.entry_partials +
                                       int64_t{kv_head} * token.head_partials + head);
          ASSERT_NE(found, left.end());
          ASSERT_EQ(found->second, token.row);
          ++merged;
        }
      }
    }
  }
  ASSERT_EQ(merged + kept, left.size());
}

TEST(AttentionTileListTest, EveryRowMeetsEveryKeyOnce) {
  int32_t spans_of_splits = 0;
  int32_t spans_of_folds = 0;
  AttentionTileList list;  // one object, used again
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    AttentionCase c;
    const auto group = static_cast<int32_t>(random.between(1, 16));
    c.config = attention_config(1, group, 16, 16);
    CaseSizes sizes;
    sizes.blocks = {100, kCutKeys, kCutKeys + 1};
    sizes.sequences = static_cast<int32_t>(random.between(1, 5));
    sizes.max_earlier = 2;
    sizes.rows = {1, 1, 3, 40};
    sizes.local_begins = {0, 7};
    // Several spans.
    if (seed % 3 == 0) {
      sizes.max_earlier = 14;
      sizes.rows = {1, 3, 17};
    }
    fill_case(random, sizes, c);
    const CasePages pages(c, seed);
    const CaseStep step = make_step(c, pages, whole_case(c));
    const TileRows rows = {16, random.chance(0.5) ? 64 : 32};
    const std::multiset<Meeting> expected = expected_meetings(step);
    for (const auto mode :
         {AttentionTasks::Mode::kAuto, AttentionTasks::Mode::kFold, AttentionTasks::Mode::kSplit}) {
      AttentionTasks tasks;
      tasks.build(step.step(), limits(group, rows), mode);
      list.build(tasks, {.kv_heads = kKvHeads,
                         .group = group,
                         .rows = rows,
                         .few_workers = static_cast<int32_t>(random.between(1, 40)),
                         .many_workers = static_cast<int32_t>(random.between(1, 40))});
      std::multiset<Meeting> meetings;
      for (const AttentionTile& tile : list.few()) {
        ASSERT_LE(tile.tokens * group, rows.few);
        add_meetings(list, tile, meetings);
      }
      for (const AttentionTile& tile : list.many()) {
        ASSERT_LE(tile.tokens * group, rows.many);
        add_meetings(list, tile, meetings);
      }
      ASSERT_TRUE(meetings == expected);
      expect_merged(list, group);
      for (const auto* tiles : {&list.few(), &list.many()}) {
        for (const AttentionTile& tile : *tiles) {
          if (tile.entry_cuts == kSpanCuts)
            ++(tile.results != 0 ? spans_of_folds : spans_of_splits);
        }
      }
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(spans_of_splits, 0);
  EXPECT_GT(spans_of_folds, 0);
}

// Rows are dealt out evenly: two that are left over would be a tile of their own, against all keys.
TEST(AttentionTileListTest, NoTileOfFewRowsIsLeftOver) {
  constexpr int32_t kGroup = 4;
  AttentionCase c;
  c.config = attention_config(1, kGroup, 16, 16);
  CaseSizes sizes;
  sizes.blocks = {kCutKeys};
  sizes.max_earlier = 4;
  sizes.rows = {50};
  Random random(3);
  fill_case(random, sizes, c);
  const CasePages pages(c, 3);
  const CaseStep step = make_step(c, pages, whole_case(c));
  AttentionTasks tasks;
  const TileRows rows = {16, 64};
  tasks.build(step.step(), limits(kGroup, rows), AttentionTasks::Mode::kSplit);
  AttentionTileList list;
  list.build(tasks, {.kv_heads = 1, .group = kGroup, .rows = rows});
  EXPECT_TRUE(list.few().empty());
  for (const AttentionTile& tile : list.many()) EXPECT_GE(tile.tokens, 11);
}

}  // namespace
}  // namespace block_attention::cuda::test
