// Memory that runs out at every single moment of loading, submitting and computing: what lacks it
// is told so, everybody else gets the answer that they would have had, nothing is lost, and the
// engine goes on.
#include <gtest/gtest.h>

#include <new>
#include <numeric>

#include "allocations.hpp"
#include "engine_fixture.hpp"

namespace block_attention::test {
namespace {

const TestEngine::Options kOptions = {.threads = 2, .max_batch_tokens = 16, .pages = 64};

constexpr int64_t kSequences = 8;
constexpr int64_t kFirstFork = 6;
constexpr int64_t kNextTime = 100;  // ids of a second run begin here

std::vector<int32_t> tokens(int32_t first, size_t count) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

SequenceSpec block(int64_t id, int32_t first_token, size_t count) {
  return {.id = id,
          .segments = {},
          .offset = 0,
          .tokens = tokens(first_token, count),
          .generation = {}};
}

SequenceSpec query(int64_t id, std::vector<SegmentSpec> segments, int32_t offset) {
  SequenceSpec spec = {.id = id,
                       .segments = std::move(segments),
                       .offset = offset,
                       .tokens = tokens(static_cast<int32_t>(id % kNextTime), 5),
                       .generation = GenerationSpec{4, {}, {}, {}}};
  spec.generation->sampling.top_logprobs = 2;
  return spec;
}

// Two blocks; queries that see one, both or none of them; one of them with everything that sampling
// keeps memory for; forks of two queries.
std::vector<SequenceSpec> workload(int64_t first_id = 0) {
  const int64_t a = first_id;
  const int64_t b = first_id + 2;
  std::vector<SequenceSpec> specs = {
      block(a, 10, 20),           query(first_id + 1, {{a, 0}}, 20),
      block(b, 40, 30),           query(first_id + 3, {{a, 0}, {b, 20}}, 50),
      query(first_id + 4, {}, 0), query(first_id + 5, {{b, 0}}, 30)};
  SamplingParams& sampling = specs[3].generation->sampling;
  sampling.temperature = 0.8f;
  sampling.top_k = 20;
  sampling.repetition_penalty = 1.2f;
  sampling.logit_bias = {{3, 1.0f}};
  const auto fork = [&](int64_t id, int64_t of) {
    SequenceSpec spec = specs[static_cast<size_t>(of)];
    spec.id = first_id + id;
    spec.fork_of = first_id + of;
    spec.generation->sampling.seed = 5;
    specs.push_back(std::move(spec));
  };
  fork(6, 4);
  fork(7, 3);
  return specs;
}

std::vector<Outcome> outcomes(TestEngine& engine, int64_t first_id = 0) {
  std::vector<Outcome> all;
  for (int64_t id = 0; id < kSequences; ++id) all.push_back(engine.wait(first_id + id));
  return all;
}

void expect_all_pages_back(TestEngine& engine) {
  for (int64_t id = 0; id < kSequences; ++id) engine.engine().release(id);
  EXPECT_TRUE(engine.all_pages_come_back());
  EXPECT_EQ(engine.engine().stats().running, 0);
}

void expect_answers(TestEngine& engine, const std::vector<Outcome>& expected) {
  engine.engine().submit(workload(kNextTime));
  const std::vector<Outcome> all = outcomes(engine, kNextTime);
  for (size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(all[i] == expected[i]) << "sequence " << i;
}

class EngineMemoryTest : public testing::Test {
 protected:
  static std::vector<Outcome> expected_answers() {
    TestEngine engine(small_config(), kOptions);
    engine.engine().submit(workload());
    std::vector<Outcome> all = outcomes(engine);
    for (const Outcome& outcome : all) EXPECT_NE(outcome.finish, Finish::kError) << outcome.error;
    for (const int64_t fork : {6, 7}) {
      EXPECT_EQ(all[static_cast<size_t>(fork)].copied_rows, 4) << fork;
    }
    return all;
  }

  const std::vector<Outcome> expected_ = expected_answers();
};

bool loads(uint64_t first, uint64_t count) {
  const FailingAllocations memory(Whose::kEverybody, first, count);
  try {
    TestEngine engine(small_config(), kOptions);
  } catch (const std::bad_alloc&) {
    return false;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kOutOfMemory) throw;
    return false;
  }
  return !FailingAllocations::happened();
}

TEST_F(EngineMemoryTest, LoadingFailsAtWhateverAllocation) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  for (const uint64_t count : {uint64_t{1}, FailingAllocations::kAllFurther}) {
    uint64_t first = 0;
    while (!loads(first, count)) ASSERT_LT(++first, 20000u);
    EXPECT_GT(first, 20u);
  }
  TestEngine engine(small_config(), kOptions);
  expect_answers(engine, expected_);
}

bool submits(Engine& engine, uint64_t first) {
  std::vector<SequenceSpec> specs = workload();
  const FailingAllocations memory(Whose::kThisThread, first, 1);
  try {
    engine.submit(std::move(specs));
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

TEST_F(EngineMemoryTest, SubmittingTakesUpAllOrNone) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  TestEngine engine(small_config(), kOptions);
  uint64_t first = 0;
  while (!submits(engine.engine(), first)) {
    EXPECT_EQ(engine.engine().stats().free_pages, engine.engine().info().pages) << first;
    EXPECT_EQ(engine.engine().stats().running, 0) << first;
    ASSERT_LT(++first, 20000u);
  }
  EXPECT_GT(first, 20u);
  EXPECT_TRUE(outcomes(engine) == expected_);
  expect_all_pages_back(engine);
}

// A fork computes what its source could not, and says so.
bool same_answer(Outcome a, Outcome b, size_t sequence) {
  if (static_cast<int64_t>(sequence) >= kFirstFork) {
    a.flops = b.flops = 0;
    a.copied_rows = b.copied_rows = 0;
  }
  return a == b;
}

// Runs the workload with allocations failing in the engine's threads. False: none failed.
bool computes(uint64_t first, uint64_t count, const std::vector<Outcome>& expected, int& victims) {
  TestEngine engine(small_config(), kOptions);
  victims = 0;
  {
    const FailingAllocations memory(Whose::kOtherThreads, first, count);
    engine.engine().submit(workload());
    const std::vector<Outcome> all = outcomes(engine);
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].finish != Finish::kError) {
        EXPECT_TRUE(same_answer(all[i], expected[i], i)) << "sequence " << i;
      } else if (all[i].code == ErrorCode::kOutOfMemory) {
        EXPECT_NE(all[i].error, "");
        ++victims;
      } else {
        // It sees a block that failed.
        EXPECT_EQ(all[i].code, ErrorCode::kAborted);
        EXPECT_TRUE(i % 2 == 1) << i;
      }
    }
  }
  expect_all_pages_back(engine);
  expect_answers(engine, expected);
  return FailingAllocations::happened();
}

TEST_F(EngineMemoryTest, OneFailedAllocationCostsAtMostOneSequence) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  uint64_t first = 0;
  uint64_t costly = 0;
  int victims = 0;
  while (computes(first, 1, expected_, victims) && !HasFailure()) {
    EXPECT_LE(victims, 1) << "allocation " << first;
    costly += static_cast<uint64_t>(victims);
    ASSERT_LT(++first, 20000u);
  }
  EXPECT_GT(costly, 50u);
}

TEST_F(EngineMemoryTest, EverySequenceEndsWhenNoMemoryIsLeftAtAll) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  uint64_t first = 0;
  int victims = 0;
  while (computes(first, FailingAllocations::kAllFurther, expected_, victims) && !HasFailure()) {
    EXPECT_GE(victims, 1) << "allocation " << first;
    ASSERT_LT(++first, 20000u);
  }
  EXPECT_GT(first, 50u);
}

}  // namespace
}  // namespace block_attention::test
