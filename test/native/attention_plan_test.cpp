#include "model/attention_plan.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "cpu/attention_limits.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

using Plan = AttentionTasks;

// A step over made-up pages: blocks of given lengths, sequences that use some of them.
struct PlanCase {
  std::vector<std::vector<PageId>> blocks;
  std::vector<int32_t> lengths;
  std::vector<StepSegment> segments;
  std::vector<StepSequence> sequences;
  std::vector<int32_t> tokens;
  PageId next_page = 0;

  PlanCase() { segments.reserve(10000); }
  size_t add_block(int32_t length) {
    std::vector<PageId> pages;
    for (int32_t i = 0; i < (length + 15) / 16; ++i) pages.push_back(next_page++);
    blocks.push_back(pages);
    lengths.push_back(length);
    return blocks.size() - 1;
  }
  void add_sequence(const std::vector<size_t>& earlier, int32_t local_begin, int32_t rows) {
    int32_t offset = 0;
    for (size_t block : earlier) offset += lengths[block];
    const size_t own = add_block(local_begin + rows);
    const size_t first = segments.size();
    int32_t at = 0;
    for (size_t block : earlier) {
      segments.push_back({blocks[block], lengths[block], offset + local_begin - at});
      at += lengths[block];
    }
    segments.push_back({blocks[own], local_begin + rows, local_begin});
    sequences.push_back({static_cast<int32_t>(tokens.size()),
                         rows,
                         local_begin,
                         {segments.data() + first, segments.size() - first}});
    tokens.resize(tokens.size() + static_cast<size_t>(rows));
  }
  Step step() const { return {tokens, sequences}; }
};

AttentionPlanLimits limits(int32_t threads, int32_t kv_heads, int32_t group) {
  return attention_limits(threads, kv_heads, group, 64, 12);
}

// Every token of every sequence meets every cut of its segments exactly once, for every kv head.
void expect_complete(const Plan& plan, const AttentionPlanLimits& l) {
  using Unit = std::tuple<int32_t, int32_t, int32_t, int32_t>;  // sequence, segment, cut, token
  std::map<Unit, std::set<int32_t>> seen;                       // by which kv heads
  const auto see = [&](const Unit& unit, int32_t first_head, int32_t heads) {
    for (int32_t head = first_head; head < first_head + heads; ++head)
      ASSERT_TRUE(seen[unit].insert(head).second);
  };
  std::set<int32_t> items;
  const auto folds = static_cast<int32_t>(plan.folds().size());
  for (const Plan::Item& item : plan.items()) ASSERT_TRUE(items.insert(item.index).second);
  ASSERT_EQ(items.size(), plan.folds().size() + plan.splits().size());
  for (size_t i = 1; i < plan.items().size(); ++i) {
    ASSERT_GE(plan.items()[i - 1].cost, plan.items()[i].cost);
  }
  // A task for each kv head of an item, in the same order if they do not come in runs.
  std::map<std::pair<int32_t, int32_t>, double> costs;
  for (const Plan::Task& task : plan.tasks())
    ASSERT_TRUE(costs.insert({{task.index, task.kv_head}, task.cost}).second);
  size_t task = 0;
  for (const Plan::Item& item : plan.items()) {
    for (int32_t head = 0; head < item.heads; ++head, ++task) {
      ASSERT_LT(task, plan.tasks().size());
      const auto cost = costs.find({item.index, item.first_head + head});
      ASSERT_NE(cost, costs.end());
      ASSERT_EQ(cost->second, item.cost);
      if (plan.in_runs()) continue;
      ASSERT_EQ(plan.tasks()[task].index, item.index);
      ASSERT_EQ(plan.tasks()[task].kv_head, item.first_head + head);
    }
    if (item.index >= folds) continue;
    const Plan::FoldTask& fold = plan.folds()[static_cast<size_t>(item.index)];
    ASSERT_EQ(item.first_head, fold.first_head);
    ASSERT_EQ(item.heads, fold.heads);
  }
  ASSERT_EQ(task, plan.tasks().size());
  const auto cuts = [&](int32_t segment) {
    return (plan.segments()[static_cast<size_t>(segment)].length + kCutKeys - 1) / kCutKeys;
  };
  for (int32_t f = 0; f < folds; ++f) {
    const Plan::FoldTask& task = plan.folds()[static_cast<size_t>(f)];
    const Plan::Sequence& sequence = plan.sequences()[static_cast<size_t>(task.sequence)];
    ASSERT_FALSE(sequence.split);
    ASSERT_TRUE(task.tokens == 1 || task.tokens * l.group <= l.max_fold_rows);
    for (int32_t s = 0; s < sequence.segments; ++s) {
      for (int32_t cut = 0; cut < cuts(sequence.first_segment + s); ++cut) {
        for (int32_t t = 0; t < task.tokens; ++t) {
          see({task.sequence, sequence.first_segment + s, cut, task.first_token + t},
              task.first_head, task.heads);
        }
      }
    }
  }
  std::set<int64_t> partials;
  for (const Plan::SplitTask& task : plan.splits()) {
    for (int32_t m = 0; m < task.members; ++m) {
      const Plan::Member& member = plan.members()[static_cast<size_t>(task.first_member + m)];
      const Plan::Sequence& sequence = plan.sequences()[static_cast<size_t>(member.sequence)];
      const Plan::Segment& segment = plan.segments()[static_cast<size_t>(member.segment)];
      ASSERT_TRUE(sequence.split);
      for (int32_t t = 0; t < sequence.rows; ++t) {
        see({member.sequence, member.segment, task.cut, t}, 0, l.num_kv_heads);
        for (int32_t head = 0; head < l.num_kv_heads; ++head) {
          const int64_t cut = segment.first_partial + task.cut;
          ASSERT_LT(cut, sequence.cuts);
          const int64_t row = ((head * int64_t{sequence.cuts} + cut) * sequence.rows + t) * l.group;
          for (int32_t g = 0; g < l.group; ++g) {
            ASSERT_TRUE(partials.insert(sequence.first_partial + row + g).second);
            ASSERT_LT(sequence.first_partial + row + g, plan.partials());
          }
        }
      }
    }
  }
  size_t expected = 0;
  for (const Plan::Sequence& sequence : plan.sequences()) {
    expected += static_cast<size_t>(sequence.cuts) * static_cast<size_t>(sequence.rows);
  }
  ASSERT_EQ(seen.size(), expected);
  for (const auto& [unit, heads] : seen)
    ASSERT_EQ(heads.size(), static_cast<size_t>(l.num_kv_heads));

  std::map<std::pair<int32_t, int32_t>, int> merged;
  for (const Plan::MergeTask& task : plan.merges()) {
    for (int32_t t = 0; t < task.tokens; ++t) ++merged[{task.sequence, task.first_token + t}];
  }
  size_t split_rows = 0;
  for (const Plan::Sequence& s : plan.sequences()) {
    if (s.split) split_rows += static_cast<size_t>(s.rows);
  }
  ASSERT_EQ(merged.size(), split_rows);
  for (const auto& [row, count] : merged) ASSERT_EQ(count, 1);
}

TEST(AttentionPlanTest, CoversEveryRowAndCutOnce) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    PlanCase c;
    std::vector<size_t> shared;
    for (int i = 0; i < 4; ++i) {
      shared.push_back(c.add_block(static_cast<int32_t>(random.between(1, 700))));
    }
    const int64_t sequences = random.between(1, 6);
    for (int64_t s = 0; s < sequences; ++s) {
      std::vector<size_t> earlier;
      for (size_t block : shared) {
        if (random.chance(0.6)) earlier.push_back(block);
      }
      const auto rows = random.chance(0.5) ? 1 : static_cast<int32_t>(random.between(1, 150));
      c.add_sequence(earlier, static_cast<int32_t>(random.between(0, 300)), rows);
    }
    AttentionPlanLimits l = limits(static_cast<int32_t>(random.between(1, 9)),
                                   static_cast<int32_t>(random.between(1, 4)),
                                   static_cast<int32_t>(random.between(1, 16)));
    if (random.chance(0.3)) l.max_partial_floats = random.between(0, 200000);
    Plan plan;
    for (Plan::Mode mode : {Plan::Mode::kAuto, Plan::Mode::kFold, Plan::Mode::kSplit}) {
      plan.build(c.step(), l, mode);  // one object, used again
      expect_complete(plan, l);
      if (HasFatalFailure()) return;
      ASSERT_LE(plan.partials() * l.state_floats, l.max_partial_floats);
    }
  }
}

TEST(AttentionPlanTest, ReadsABlockThatDecodesShareOnce) {
  PlanCase c;
  const size_t block = c.add_block(4096);
  for (int i = 0; i < 8; ++i) c.add_sequence({block}, 3 + i, 1);
  Plan plan;
  plan.build(c.step(), limits(2, 2, 1));
  int shared = 0;
  for (const Plan::SplitTask& task : plan.splits()) shared += task.members == 8;
  EXPECT_EQ(shared, 4096 / kCutKeys);
}

TEST(AttentionPlanTest, FoldsAPrefillAndKeepsItsWorkersBusy) {
  PlanCase c;
  c.add_sequence({}, 0, 2048);
  Plan plan;
  plan.build(c.step(), limits(2, 4, 4));
  EXPECT_TRUE(plan.splits().empty());
  double total = 0;
  for (const Plan::Item& item : plan.items()) total += item.cost * 4;
  EXPECT_LE(plan.items().front().cost, total / 2 / 2);
}

// The load of the busiest worker: whoever is free takes the next task, or in runs that of its own
// run, and then the last one of the next run that has any.
double busiest(const std::vector<Plan::Task>& tasks, int64_t workers, bool in_runs) {
  std::vector<double> loads(static_cast<size_t>(workers));
  std::vector<std::deque<double>> runs(static_cast<size_t>(workers));
  const auto count = static_cast<int64_t>(tasks.size());
  for (int64_t i = 0; i < count; ++i) {
    int64_t run = 0;
    while (in_runs && (run + 1) * count / workers <= i) ++run;
    runs[static_cast<size_t>(run)].push_back(tasks[static_cast<size_t>(i)].cost);
  }
  for (int64_t taken = 0; taken < count; ++taken) {
    const auto free = std::min_element(loads.begin(), loads.end()) - loads.begin();
    int64_t i = 0;
    while (runs[static_cast<size_t>((free + i) % workers)].empty()) ++i;
    std::deque<double>& run = runs[static_cast<size_t>((free + i) % workers)];
    const bool from_front = !in_runs || i == 0;
    loads[static_cast<size_t>(free)] += from_front ? run.front() : run.back();
    from_front ? run.pop_front() : run.pop_back();
  }
  return *std::max_element(loads.begin(), loads.end());
}

// That of the tasks as they are dealt out, relative to that of the costliest first.
double longer_than_by_cost(const Plan& plan, int64_t workers) {
  std::vector<Plan::Task> by_cost = plan.tasks();
  std::sort(by_cost.begin(), by_cost.end(),
            [](const Plan::Task& a, const Plan::Task& b) { return a.cost > b.cost; });
  return busiest(plan.tasks(), workers, plan.in_runs()) / busiest(by_cost, workers, false);
}

// Every worker begins with neighbouring rows, the costliest first.
TEST(AttentionPlanTest, ArrangesTheTasksOfManyRowsInRuns) {
  PlanCase c;
  c.add_sequence({}, 0, 512);
  c.add_sequence({c.add_block(300)}, 0, 200);
  constexpr int64_t kWorkers = 2;
  const AttentionPlanLimits l = limits(kWorkers, 3, 3);
  Plan plan;
  plan.build(c.step(), l);
  expect_complete(plan, l);
  ASSERT_TRUE(plan.in_runs());
  EXPECT_LE(longer_than_by_cost(plan, kWorkers), 1.05);
  const auto tasks = static_cast<int64_t>(plan.tasks().size());
  int32_t before = 0;  // the last row of the run before
  for (int64_t run = 0; run < kWorkers; ++run) {
    int32_t last = 0;
    for (int64_t i = run * tasks / kWorkers; i < (run + 1) * tasks / kWorkers; ++i) {
      const Plan::Task& task = plan.tasks()[static_cast<size_t>(i)];
      const Plan::FoldTask& fold = plan.folds()[static_cast<size_t>(task.index)];
      const int32_t row =
          plan.sequences()[static_cast<size_t>(fold.sequence)].first_row + fold.first_token;
      EXPECT_GE(row, before);
      last = std::max(last, row);
      if (i > run * tasks / kWorkers) {
        EXPECT_GE(plan.tasks()[static_cast<size_t>(i - 1)].cost, task.cost);
      }
    }
    before = last;
  }
  EXPECT_GT(before, 512);

  // A query has few rows, and single tokens are split.
  PlanCase few;
  few.add_sequence({few.add_block(4096)}, 0, 50);
  plan.build(few.step(), l);
  EXPECT_FALSE(plan.in_runs());
  PlanCase decode;
  decode.add_sequence({decode.add_block(16384)}, 0, 1);
  plan.build(decode.step(), l);
  EXPECT_FALSE(plan.in_runs());
  PlanCase alike;
  for (int i = 0; i < 32; ++i) alike.add_sequence({alike.add_block(500)}, 0, 1);
  plan.build(alike.step(), l);
  EXPECT_FALSE(plan.in_runs());
}

// Runs are for steps that are dealt out as evenly in runs: not where a few tasks cost most.
TEST(AttentionPlanTest, RunsLeaveNoWorkerIdle) {
  Plan plan;
  int in_runs = 0;
  const auto check = [&](PlanCase& c, int32_t workers, int32_t kv_heads, int32_t group) {
    const AttentionPlanLimits l = limits(workers, kv_heads, group);
    plan.build(c.step(), l);
    expect_complete(plan, l);
    EXPECT_LE(longer_than_by_cost(plan, workers), 1.05);
    in_runs += plan.in_runs();
  };
  for (const int32_t workers : {2, 4, 8}) {
    PlanCase decodes;
    decodes.add_sequence({decodes.add_block(20000)}, 0, 1);
    for (int i = 0; i < 20; ++i) decodes.add_sequence({decodes.add_block(1000)}, 0, 1);
    check(decodes, workers, 2, 7);
    PlanCase mixed;
    mixed.add_sequence({mixed.add_block(35000)}, 0, 7);
    mixed.add_sequence({}, 0, 512);
    check(mixed, workers, 2, 7);
    for (const int32_t rows : {129, 512, 2048}) {
      PlanCase prompt;
      prompt.add_sequence({}, 0, rows);
      check(prompt, workers, 3, 3);
      PlanCase documents;
      for (int i = 0; i < 9; ++i) documents.add_sequence({}, 0, rows / 9 + 7 * i);
      check(documents, workers, 4, 4);
    }
  }
  EXPECT_GE(in_runs, 9);
}

// One task for each of three heads would leave one of two workers idle for a third of the time,
// three for a ninth.
TEST(AttentionPlanTest, DividesAFinalBlockSoThatWorkersEndTogether) {
  PlanCase c;
  std::vector<size_t> documents;
  for (int i = 0; i < 20; ++i) documents.push_back(c.add_block(200));
  c.add_sequence(documents, 0, 50);
  AttentionPlanLimits l = limits(2, 3, 3);
  l.folds_by_head = false;
  Plan plan;
  plan.build(c.step(), l);
  EXPECT_TRUE(plan.splits().empty());
  ASSERT_EQ(plan.folds().size(), 2u);
  // Of three heads: 24 tokens are six whole tiles, and 26 end in half a tile instead of a quarter.
  EXPECT_EQ(plan.folds()[0].tokens, 26);
  EXPECT_EQ(plan.folds()[1].tokens, 24);

  // A head for each worker, and half of the third.
  l.folds_by_head = true;
  plan.build(c.step(), l);
  ASSERT_EQ(plan.folds().size(), 3u);
  EXPECT_EQ(plan.folds()[0].tokens, 50);
  EXPECT_EQ(plan.folds()[0].heads, 2);
  for (size_t i : {1, 2}) {
    EXPECT_EQ(plan.folds()[i].tokens, 25);
    EXPECT_EQ(plan.folds()[i].first_head, 2);
    EXPECT_EQ(plan.folds()[i].heads, 1);
  }
  expect_complete(plan, l);
  // As many heads as workers, or twice as many, are not cut, nor are some left whole where there
  // are fewer.
  for (const int32_t kv_heads : {2, 4}) {
    plan.build(c.step(), limits(2, kv_heads, 3));
    for (const Plan::FoldTask& fold : plan.folds()) EXPECT_EQ(fold.heads, kv_heads);
  }
  plan.build(c.step(), limits(8, 3, 3));
  for (const Plan::FoldTask& fold : plan.folds()) EXPECT_EQ(fold.heads, 3);
}

TEST(AttentionPlanTest, SplitsALongDecodeThatWouldLeaveWorkersIdle) {
  PlanCase c;
  c.add_sequence({c.add_block(32768)}, 10, 1);
  Plan plan;
  plan.build(c.step(), limits(8, 2, 4));
  EXPECT_TRUE(plan.folds().empty());
  EXPECT_GE(plan.splits().size(), 128u);
  plan.build(c.step(), limits(1, 2, 4));
  EXPECT_TRUE(plan.splits().empty()) << "one worker needs no partials";
}

}  // namespace
}  // namespace block_attention::test
