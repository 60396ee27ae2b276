// Several threads use one engine at random while it computes, until it is closed under them: what
// comes out is checked only against the rules of life, so this is mostly for the sanitizers.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>
#include <utility>

#include "engine_fixture.hpp"

namespace block_attention::test {
namespace {

constexpr int kThreads = 3;

SequenceSpec random_sequence(std::mt19937& random, int64_t id, std::optional<int64_t> seen) {
  SequenceSpec spec;
  spec.id = id;
  if (seen) {
    spec.segments.push_back({*seen, 0});
    spec.offset = 64;
  }
  for (uint32_t i = random() % 40; i < 41; ++i)
    spec.tokens.push_back(static_cast<int32_t>(random() % 97));
  if (random() % 2 == 0) {
    spec.generation = GenerationSpec{1 + static_cast<int32_t>(random() % 10), {}, {}, {}};
    if (random() % 2 == 0) spec.generation->sampling.repetition_penalty = 1.1f;
  }
  return spec;
}

bool contains(const std::vector<int64_t>& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// Submits, forks, aborts and releases sequences of its own ids; kClosed ends it. Returns how many
// were taken up.
int use(Engine& engine, int thread, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> live;
  SequenceSpec last;
  int taken = 0;
  for (int64_t id = thread;; id += kThreads) {
    try {
      const std::optional<int64_t> seen =
          live.empty() ? std::nullopt : std::optional(live[random() % live.size()]);
      SequenceSpec spec = random_sequence(random, id, seen);
      if (random() % 3 == 0 && contains(live, last.id) &&
          (last.segments.empty() || contains(live, last.segments[0].id))) {
        spec = last;
        spec.fork_of = std::exchange(spec.id, id);
      }
      engine.submit({spec});
      last = std::move(spec);
      live.push_back(id);
      ++taken;
      if (random() % 3 == 0) engine.abort(live[random() % live.size()]);
      EXPECT_GE(engine.stats().running, 0);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kClosed) return taken;
      EXPECT_EQ(error.code(), ErrorCode::kOutOfPages);
    }
    while (live.size() > 12 || (!live.empty() && random() % 4 == 0)) {
      const size_t place = random() % live.size();
      engine.release(live[place]);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(place));
    }
  }
}

TEST(EngineStress, SurvivesBeingUsedFromManyThreadsAndClosedUnderThem) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (unsigned round = 0; round < 4; ++round) {
    TestEngine engine(small_config(), {.threads = 2, .max_batch_tokens = 32, .pages = 96});
    std::atomic<int> taken{0};
    std::vector<std::thread> users;
    for (int thread = 0; thread < kThreads; ++thread) {
      users.emplace_back([&, thread] {
        taken += use(engine.engine(), thread, seed + 10 * round + static_cast<unsigned>(thread));
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    engine.engine().close();
    for (std::thread& user : users) user.join();
    EXPECT_GT(taken.load(), 0);
    EXPECT_EQ(engine.engine().stats().running, 0);
    EXPECT_EQ(engine.engine().stats().free_pages, engine.engine().info().pages);
  }
}

}  // namespace
}  // namespace block_attention::test
