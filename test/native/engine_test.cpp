// The engine as a whole on a small random model: the promise that the bits of an answer depend on
// the model, the tokens and the cutting into blocks alone, and the life of sequences and pages.
#include "engine/engine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>

#include "engine_fixture.hpp"
#include "engine_requests.hpp"

namespace block_attention::test {
namespace {

class EngineBits : public testing::TestWithParam<bool> {};

TEST_P(EngineBits, DoNotDependOnChunksThreadsOrBatch) {
  const bool full = GetParam();
  const unsigned seed = 20260101;
  std::mt19937 random(seed);
  for (int round = 0; round < 6; ++round) {
    const ModelConfig config = small_config(round % 2 == 0 ? 0 : 40);
    std::vector<Request> requests;
    for (int i = 0; i < 4; ++i) requests.push_back(random_request(random, config.vocab_size));
    std::vector<Outcome> expected;
    for (const Request& request : requests) {
      expected.push_back(run_alone(config, request, full, {.threads = 1, .max_batch_tokens = 512}));
      ASSERT_EQ(expected.back().finish, Finish::kLength);
    }
    for (int32_t batch : {1, 7, 33, 256}) {
      const int threads = 1 + static_cast<int>(random() % 4);
      SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " batch " +
                   std::to_string(batch) + " threads " + std::to_string(threads));
      TestEngine engine(config, {.threads = threads, .max_batch_tokens = batch});
      for (size_t i = 0; i < requests.size(); ++i) {
        engine.engine().submit(sequences(requests[i], static_cast<int64_t>(100 * i), full));
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        const auto id = static_cast<int64_t>(100 * i + requests[i].documents.size());
        expect_same_bits(expected[i], engine.wait(id), "request " + std::to_string(i));
      }
    }
  }
}

TEST_P(EngineBits, DoNotDependOnHitOrMiss) {
  const bool full = GetParam();
  std::mt19937 random(3);
  const ModelConfig config = small_config();
  for (int round = 0; round < 8; ++round) {
    const Request request = random_request(random, config.vocab_size);
    const auto query_id = static_cast<int64_t>(request.documents.size());
    TestEngine engine(config, {.threads = 2, .max_batch_tokens = 48});
    std::vector<SequenceSpec> specs = sequences(request, 0, full);
    SequenceSpec again = specs.back();
    again.id = 1000;
    engine.engine().submit(std::move(specs));
    const Outcome miss = engine.wait(query_id);
    engine.engine().submit({again});
    expect_same_bits(miss, engine.wait(1000), "hit");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, EngineBits, testing::Bool(),
                         [](const auto& info) { return info.param ? "full" : "block"; });

TEST(EngineModes, BlockAndFullDiffer) {
  std::mt19937 random(11);
  const ModelConfig config = small_config();
  Request request = random_request(random, config.vocab_size);
  request.documents = {random_tokens(random, 40, config.vocab_size),
                       random_tokens(random, 40, config.vocab_size)};
  const Outcome block = run_alone(config, request, false, {});
  const Outcome full = run_alone(config, request, true, {});
  EXPECT_NE(block.top_logprobs, full.top_logprobs);
}

TEST(EngineModes, FullModeDoesNotDependOnTheCutting) {
  // Other cuts of the KV give other roundings, so this holds within a tolerance only: of float32,
  // which is what all is computed in if nothing is stored in less.
  std::mt19937 random(12);
  const ModelConfig config = small_config();
  Request request;
  request.documents = {random_tokens(random, 33, config.vocab_size),
                       random_tokens(random, 50, config.vocab_size)};
  request.query = random_tokens(random, 9, config.vocab_size);
  request.sampling.top_logprobs = 0;
  Request joined = request;
  joined.query.clear();
  for (const auto& document : request.documents) {
    joined.query.insert(joined.query.end(), document.begin(), document.end());
  }
  joined.query.insert(joined.query.end(), request.query.begin(), request.query.end());
  joined.documents.clear();
  const TestEngine::Options options = {.kv_dtype = DType::kF32, .weight_dtype = DType::kF32};
  const Outcome cut = run_alone(config, request, true, options);
  const Outcome whole = run_alone(config, joined, true, options);
  ASSERT_EQ(cut.tokens, whole.tokens);
  for (size_t i = 0; i < cut.logprobs.size(); ++i)
    EXPECT_NEAR(cut.logprobs[i], whole.logprobs[i], 1e-4);
}

TEST(EngineLife, PagesReturnWhenSequencesAreReleased) {
  std::mt19937 random(5);
  const ModelConfig config = small_config();
  TestEngine engine(config, {});
  const Request request = random_request(random, config.vocab_size);
  engine.engine().submit(sequences(request, 0, false));
  engine.wait(static_cast<int64_t>(request.documents.size()));
  EXPECT_LT(engine.engine().stats().free_pages, engine.engine().info().pages);
  for (int64_t id = 0; id <= static_cast<int64_t>(request.documents.size()); ++id)
    engine.engine().release(id);
  EXPECT_TRUE(engine.all_pages_come_back());
  EXPECT_EQ(engine.engine().stats().running, 0);
}

TEST(EngineLife, ABlockOutlivesItsReleaseWhileASequenceSeesIt) {
  std::mt19937 random(6);
  const ModelConfig config = small_config();
  Request request;
  request.documents = {random_tokens(random, 60, config.vocab_size)};
  request.query = random_tokens(random, 10, config.vocab_size);
  request.sampling.top_logprobs = 3;
  const Outcome expected = run_alone(config, request, false, {});
  TestEngine engine(config, {.max_batch_tokens = 5});
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  engine.engine().submit({specs[0]});
  ASSERT_EQ(engine.wait(0).finish, Finish::kEncoded);
  engine.engine().submit({specs[1]});
  engine.engine().release(0);
  expect_same_bits(expected, engine.wait(1), "released block");
}

TEST(EngineLife, AbortEndsASequenceAndWhatWaitsForIt) {
  std::mt19937 random(8);
  const ModelConfig config = small_config();
  Request request;
  request.documents = {random_tokens(random, 3000, config.vocab_size)};
  request.query = random_tokens(random, 4, config.vocab_size);
  TestEngine engine(config, {.max_batch_tokens = 1, .pages = 400});
  engine.engine().submit(sequences(request, 0, false));
  engine.engine().abort(0);
  EXPECT_EQ(engine.wait(0).finish, Finish::kAborted);
  const Outcome query = engine.wait(1);
  EXPECT_EQ(query.finish, Finish::kError);
  EXPECT_NE(query.error.find("aborted"), std::string::npos);
}

TEST(EngineLife, CloseEndsWhatRuns) {
  std::mt19937 random(9);
  const ModelConfig config = small_config();
  Request request;
  request.query = random_tokens(random, 2000, config.vocab_size);
  TestEngine engine(config, {.max_batch_tokens = 1});
  engine.engine().submit(sequences(request, 0, false));
  engine.engine().close();
  EXPECT_EQ(engine.wait(0).finish, Finish::kAborted);
  EXPECT_THROW(engine.engine().submit(sequences(request, 5, false)), Error);
}

TEST(EngineErrors, OutOfPagesTakesNothing) {
  std::mt19937 random(10);
  const ModelConfig config = small_config();
  TestEngine engine(config, {.pages = 4});
  Request request;
  request.documents = {random_tokens(random, 10, config.vocab_size),
                       random_tokens(random, 1000, config.vocab_size)};
  request.query = {1};
  try {
    engine.engine().submit(sequences(request, 0, false));
    FAIL() << "expected OUT_OF_PAGES";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfPages);
  }
  EXPECT_EQ(engine.engine().stats().free_pages, 4);
  EXPECT_EQ(engine.engine().stats().running, 0);
}

TEST(EngineErrors, BadSequencesAreRefused) {
  const ModelConfig config = small_config();
  TestEngine engine(config, {});
  const auto refused = [&](SequenceSpec spec) {
    EXPECT_THROW(engine.engine().submit({std::move(spec)}), Error);
    EXPECT_EQ(engine.engine().stats().running, 0);
  };
  refused({.id = 1, .segments = {}, .offset = 0, .tokens = {}, .generation = {}});
  refused({.id = 1, .segments = {}, .offset = 0, .tokens = {97}, .generation = {}});
  refused({.id = 1, .segments = {}, .offset = 0, .tokens = {-1}, .generation = {}});
  refused({.id = 1, .segments = {}, .offset = -1, .tokens = {1}, .generation = {}});
  refused({.id = 1, .segments = {{7, 0}}, .offset = 5, .tokens = {1}, .generation = {}});
  refused({.id = 1,
           .segments = {},
           .offset = 0,
           .tokens = {1},
           .generation = GenerationSpec{0, {}, {}, {}}});
  engine.engine().submit(
      {{.id = 1, .segments = {}, .offset = 0, .tokens = {1, 2, 3}, .generation = {}}});
  EXPECT_THROW(engine.engine().submit(
                   {{.id = 1, .segments = {}, .offset = 0, .tokens = {1}, .generation = {}}}),
               Error);
  EXPECT_THROW(engine.engine().submit(
                   {{.id = 2, .segments = {{1, 0}}, .offset = 2, .tokens = {1}, .generation = {}}}),
               Error);
}

TEST(EngineFlops, AreThoseOfTheStepsHoweverTheyAreCut) {
  std::mt19937 random(13);
  const ModelConfig config = small_config();
  Request request;
  request.query = random_tokens(random, 50, config.vocab_size);
  const double whole = run_alone(config, request, true, {.max_batch_tokens = 512}).flops;
  const double cut = run_alone(config, request, true, {.max_batch_tokens = 3}).flops;
  const double qkv = 2.0 * 48 * (96 + 64);
  const double rest = 2.0 * 96 * 48 + 6.0 * 48 * 80;
  const double pairs = 50 * 51 / 2;
  const double head = 2.0 * 48 * 97;
  const double expected = 3 * 50 * qkv + (2 * 50 + 1) * rest + 4.0 * 96 * (2 * pairs + 50) + head;
  EXPECT_DOUBLE_EQ(whole, expected);
  EXPECT_DOUBLE_EQ(cut, expected);
}

}  // namespace
}  // namespace block_attention::test
