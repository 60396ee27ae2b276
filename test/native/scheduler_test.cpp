// schedule_step() over random arrivals of prompts, blocks and their users, against its promises:
// the budget, the order of dependencies, and that nobody waits for ever.
#include "engine/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "support.hpp"

namespace block_attention::test {
namespace {

constexpr int32_t kPages = 4096;

// What the engine does around schedule_step(), without a model.
class Simulation {
 public:
  Simulation(int32_t max_rows, uint64_t seed)
      : max_rows_(max_rows), random_(seed), pool_(std::make_shared<PagePool>(kPages, 16)) {}

  void arrive() {
    if (!active_.empty() && random_.chance(0.3)) {
      const auto last = static_cast<int64_t>(active_.size()) - 1;
      const Sequence& source = *active_[static_cast<size_t>(random_.between(0, last))];
      arrive(source.own()->tokens, source.offset(), source.earlier(), source.own());
      return;
    }
    int32_t offset = 0;
    std::vector<Segment> earlier;
    for (const auto& sequence : active_) {
      if (sequence->generation() || !random_.chance(0.5)) continue;
      earlier.push_back({sequence->own(), offset});
      offset += sequence->own()->tokens;
    }
    arrive(static_cast<int32_t>(random_.between(1, 40)), offset, earlier, nullptr);
  }

  void arrive(int32_t tokens, int32_t offset, std::vector<Segment> earlier,
              std::shared_ptr<BlockProgress> source) {
    SequenceSpec spec;
    spec.id = next_id_++;
    spec.tokens.assign(static_cast<size_t>(tokens), 1);
    spec.offset = offset;
    if (random_.chance(0.6)) {
      spec.generation.emplace();
      spec.generation->max_tokens = static_cast<int32_t>(random_.between(1, 30));
    }
    const int32_t capacity = tokens + (spec.generation ? spec.generation->max_tokens : 0);
    auto own = std::make_shared<BlockProgress>(pool_, tokens, capacity);
    active_.push_back(std::make_shared<Sequence>(std::move(spec), std::move(earlier),
                                                 std::move(own), std::move(source)));
  }

  // One step; false if there was nothing to compute.
  bool step() {
    ++step_;
    std::map<const Sequence*, int32_t> before;
    for (const auto& sequence : active_) before[sequence.get()] = sequence->next_row();
    schedule_step(active_, max_rows_, step_, scheduled_);
    check_budget(before);
    check_dependencies();
    check_waiting();
    for (const ScheduledRows& rows : scheduled_) {
      Sequence& sequence = *rows.sequence;
      sequence.step_done(rows.begin);
      sequence.last_step = step_;
      if (sequence.pending_rows() > 0) continue;
      sequence.finished = !sequence.generation() || sequence.push(0) != Finish::kNone;
    }
    std::erase_if(active_, [](const auto& sequence) { return sequence->finished; });
    return !scheduled_.empty();
  }

  size_t active() const { return active_.size(); }

 private:
  void check_budget(const std::map<const Sequence*, int32_t>& before) const {
    int32_t sum = 0;
    for (size_t i = 0; i < scheduled_.size(); ++i) {
      const ScheduledRows& rows = scheduled_[i];
      sum += rows.rows;
      ASSERT_GE(rows.rows, 1);
      ASSERT_EQ(rows.begin, before.at(rows.sequence));
      ASSERT_EQ(rows.begin + rows.rows, rows.sequence->own()->scheduled);
      ASSERT_GE(rows.sequence->pending_rows(), 0);
      for (size_t j = 0; j < i; ++j) ASSERT_NE(scheduled_[j].sequence, rows.sequence);
    }
    ASSERT_LE(sum, max_rows_);
    const bool work = std::any_of(active_.begin(), active_.end(), [](const auto& sequence) {
      return !sequence->decoding() && sequence->pending_rows() > 0;
    });
    ASSERT_TRUE(sum > 0 || !work);
  }

  // Whatever a scheduled sequence sees is complete in this step at the latest, and what it copies
  // was computed before it: all rows but the last.
  void check_dependencies() const {
    for (const ScheduledRows& rows : scheduled_) {
      for (const Segment& segment : rows.sequence->earlier())
        ASSERT_TRUE(segment.block->complete());
      if (const BlockProgress* source = rows.sequence->source()) {
        ASSERT_EQ(rows.begin, source->tokens - 1);
        ASSERT_GE(source->computed, rows.begin);
      }
    }
  }

  // In eight steps prompts are sure of max_rows rows, the oldest first, and decodes of seven times
  // as many, the longest waiting first.
  void check_waiting() {
    const auto decodes = static_cast<uint64_t>(
        std::count_if(active_.begin(), active_.end(), [](const auto& s) { return s->decoding(); }));
    bool oldest_prompt = true;
    for (const auto& sequence : active_) {
      const bool ran =
          std::any_of(scheduled_.begin(), scheduled_.end(),
                      [&](const ScheduledRows& rows) { return rows.sequence == sequence.get(); });
      uint64_t& waited = waited_[sequence->id()];
      const bool counts = sequence->decoding() || oldest_prompt;
      if (!sequence->decoding()) oldest_prompt = false;
      waited = ran || !counts ? 0 : waited + 1;
      const uint64_t bound = sequence->decoding() ? 8 * (decodes + 8) : 16;
      ASSERT_LE(waited, bound) << "sequence " << sequence->id() << " of " << active_.size()
                               << ", decoding: " << sequence->decoding();
    }
  }

  const int32_t max_rows_;
  Random random_;
  std::shared_ptr<PagePool> pool_;
  int64_t next_id_ = 0;
  uint64_t step_ = 0;
  std::vector<std::shared_ptr<Sequence>> active_;
  std::vector<ScheduledRows> scheduled_;
  std::map<int64_t, uint64_t> waited_;
};

class SchedulerTest : public testing::TestWithParam<int32_t> {};

TEST_P(SchedulerTest, KeepsItsPromisesForRandomArrivals) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(GetParam(), seed);
    Random arrivals(seed + 1000);
    for (int step = 0; step < 300; ++step) {
      while (simulation.active() < 12 && arrivals.chance(0.3)) simulation.arrive();
      simulation.step();
      if (HasFatalFailure()) return;
    }
    int steps = 0;
    while (simulation.step()) {
      ASSERT_LT(++steps, 20000) << "it does not end";
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(simulation.active(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, SchedulerTest, testing::Values(1, 2, 3, 7, 8, 9, 16, 64, 512));

}  // namespace
}  // namespace block_attention::test
