// What only an emulated GPU can show of the engine: a device that is lost, memory that runs out,
// and what a step costs beside its kernels.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "cuda/cuda_backend.hpp"
#include "emulator/options.hpp"
#include "engine_fixture.hpp"
#include "engine_requests.hpp"

namespace block_attention::cuda::emulator {
namespace {

using namespace block_attention::test;

TestEngine::Options on_gpu() {
  TestEngine::Options options;
  options.make_backend = [] { return make_cuda_backend({.deterministic = true}); };
  return options;
}

Request request_of(std::mt19937& random, const ModelConfig& config) {
  Request request;
  request.documents = {random_tokens(random, 20, config.vocab_size)};
  request.query = random_tokens(random, 5, config.vocab_size);
  return request;
}

class EmulatedEngine : public testing::Test {
 protected:
  void TearDown() override { options().lost_at_launch = 0; }
};

TEST_F(EmulatedEngine, ALostDeviceFailsWhatIsInFlightAndWhatComesAfter) {
  std::mt19937 random(1);
  const ModelConfig config = small_config();
  TestEngine engine(config, on_gpu());
  const Request request = request_of(random, config);
  engine.engine().submit(sequences(request, 0, false));
  ASSERT_EQ(engine.wait(1).finish, Finish::kLength);

  options().lost_at_launch = 1;
  engine.engine().submit(sequences(request, 10, false));
  engine.engine().submit(sequences(request, 20, false));
  for (const int64_t id : {10, 20, 21}) {
    const Outcome outcome = engine.wait(id);
    EXPECT_EQ(outcome.finish, Finish::kError) << id;
  }
  EXPECT_EQ(engine.wait(10).code, ErrorCode::kDevice);
  EXPECT_NE(engine.wait(10).error.find("lost"), std::string::npos) << engine.wait(10).error;

  engine.engine().submit(sequences(request, 30, false));
  EXPECT_EQ(engine.wait(30).code, ErrorCode::kDevice);
  EXPECT_EQ(engine.wait(31).finish, Finish::kError);
  for (const int64_t id : {0, 1, 10, 11, 20, 21, 30, 31}) engine.engine().release(id);
  EXPECT_TRUE(engine.all_pages_come_back());
}

TEST_F(EmulatedEngine, AStepAllocatesNothingAndWaitsOnce) {
  std::mt19937 random(2);
  const ModelConfig config = small_config(40);
  TestEngine engine(config, on_gpu());
  Request request = request_of(random, config);
  request.sampling.top_logprobs = 5;
  request.sampling.temperature = 1;
  request.sampling.repetition_penalty = 1.1f;
  const auto with_a_fork = [&](int64_t first_id) {
    std::vector<SequenceSpec> specs = sequences(request, first_id, false);
    specs.push_back(fork_of(specs.back(), first_id + 2, 7));
    return specs;
  };
  engine.engine().submit(with_a_fork(0));
  ASSERT_EQ(engine.wait(1).finish, Finish::kLength);
  ASSERT_EQ(engine.wait(2).finish, Finish::kLength);

  const Counters before = counters();
  const uint64_t steps = engine.engine().stats().steps;
  engine.engine().submit(with_a_fork(10));
  ASSERT_EQ(engine.wait(11).finish, Finish::kLength);
  ASSERT_EQ(engine.wait(12).finish, Finish::kLength);
  EXPECT_EQ(engine.wait(12).copied_rows, 4);
  EXPECT_EQ(counters().allocations, before.allocations);
  EXPECT_EQ(counters().synchronizations - before.synchronizations,
            engine.engine().stats().steps - steps);
  EXPECT_GT(counters().launches, before.launches);
}

TEST_F(EmulatedEngine, APoolLargerThanTheDeviceIsRefused) {
  const ModelConfig config = small_config();
  TestEngine::Options options = on_gpu();
  options.pages = INT32_MAX / 2;
  try {
    TestEngine engine(config, options);
    FAIL() << "a pool of terabytes was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
  }
}

}  // namespace
}  // namespace block_attention::cuda::emulator
