// When a listener may go to sleep: not before it was told of everything, and it is told when.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <vector>

#include "engine_fixture.hpp"

namespace block_attention::test {
namespace {

struct Call {
  size_t events;
  int32_t running;
  int32_t unreported;
};

TEST(EngineReportTest, MoreMayComeUntilTheListenerHasReturned) {
  const ModelConfig config = small_config();
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  RandomWeights source(config, 7, DType::kBF16);
  ModelWeights weights =
      load_weights(config, source, *backend, WeightFormat::kStored, [](size_t, size_t) {});
  EngineOptions options;
  options.cache_bytes = 1 << 20;
  options.max_batch_tokens = 16;

  std::mutex mutex;
  std::condition_variable called;
  std::vector<Call> calls;
  Engine* engine_in_sink = nullptr;
  Engine engine(config, std::move(backend), std::move(weights), options, [&](EventList events) {
    const EngineStats stats = engine_in_sink->stats();
    const std::lock_guard lock(mutex);
    calls.push_back({events.size(), stats.running, stats.unreported});
    called.notify_all();
  });
  engine_in_sink = &engine;

  SequenceSpec block;
  block.id = 1;
  block.tokens = {1, 2, 3};
  SequenceSpec query;
  query.id = 2;
  query.segments = {{1, 0}};
  query.offset = 3;
  query.tokens = {4, 5};
  query.generation.emplace();
  query.generation->max_tokens = 3;
  engine.submit({block, query});
  std::unique_lock lock(mutex);
  ASSERT_TRUE(called.wait_for(lock, std::chrono::seconds(20),
                              [&] { return !calls.empty() && calls.back().events == 0; }));

  ASSERT_GE(calls.size(), 4u);
  EXPECT_EQ(calls.back().running, 0);
  EXPECT_EQ(calls.back().unreported, 0);
  calls.pop_back();
  // The last of them ended the last sequence, so nothing ran any more, and it was not told yet.
  EXPECT_EQ(calls.back().running, 0);
  for (const Call& call : calls) {
    EXPECT_GE(call.events, 1u);
    EXPECT_GE(call.unreported, 1);
  }
}

}  // namespace
}  // namespace block_attention::test
