// Forks: sequences that begin as copies of another one's KV pages. What they answer is what they
// would have answered had they computed everything.
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine_fixture.hpp"
#include "fork_requests.hpp"

namespace block_attention::test {
namespace {

// ---- the same bits

class ForkBits : public testing::TestWithParam<DType> {};

TEST_P(ForkBits, AreThoseOfTheSequenceThatComputesEverything) {
  const unsigned seed = 20260401;
  std::mt19937 random(seed);
  for (int round = 0; round < 8; ++round) {
    const ModelConfig config = small_config(round % 2 == 0 ? 0 : 20);
    const bool full = round % 4 >= 2;
    Request request = random_request(random, config.vocab_size);
    request.query = random_tokens(random, 1 + static_cast<int>(random() % 50), config.vocab_size);
    const auto forks = static_cast<int64_t>(1 + random() % 4);
    std::vector<Outcome> expected;
    for (int64_t i = 0; i <= forks; ++i) {
      Request alone = request;
      alone.sampling.seed = static_cast<uint64_t>(i);
      expected.push_back(run_alone(config, alone, full, {.kv_dtype = GetParam()}));
      ASSERT_EQ(expected.back().finish, Finish::kLength);
    }
    for (const int32_t batch : {1, 7, 33, 256}) {
      const int threads = 1 + static_cast<int>(random() % 3);
      SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " batch " +
                   std::to_string(batch) + " threads " + std::to_string(threads));
      TestEngine engine(config,
                        {.threads = threads, .max_batch_tokens = batch, .kv_dtype = GetParam()});
      std::vector<SequenceSpec> specs = sequences(request, 0, full);
      specs.back().generation->sampling.seed = 0;
      const SequenceSpec source = specs.back();
      for (int64_t i = 1; i <= forks; ++i) {
        specs.push_back(fork_of(source, kSource + i, static_cast<uint64_t>(i)));
      }
      engine.engine().submit(std::move(specs));
      expect_same_bits(expected[0], engine.wait(source.id), "source");
      for (int64_t i = 1; i <= forks; ++i) {
        const Outcome fork = engine.wait(kSource + i);
        expect_same_bits(expected[static_cast<size_t>(i)], fork, "fork " + std::to_string(i));
        EXPECT_EQ(fork.copied_rows, static_cast<int32_t>(request.query.size()) - 1);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(KvTypes, ForkBits, testing::Values(DType::kBF16, DType::kF32, DType::kI8),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

TEST(Fork, OfAForkOfAnEndedSequenceAndOfABlock) {
  std::mt19937 random(1);
  const ModelConfig config = small_config();
  const Request request = usual_request(random, config);
  TestEngine engine(config, {.max_batch_tokens = 16});
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  const SequenceSpec source = specs.back();
  engine.engine().submit(std::move(specs));
  ASSERT_EQ(engine.wait(source.id).finish, Finish::kLength);

  // With more pages than what it forks.
  SequenceSpec first = fork_of(source, 10, 1);
  first.generation->max_tokens = 40;
  SequenceSpec second = fork_of(first, 11, 2);
  second.generation->max_tokens = 6;
  engine.engine().submit({first, second});
  expect_same_bits(unforked(config, request, 2), engine.wait(11), "fork of a fork");
  EXPECT_EQ(engine.wait(11).copied_rows, 36);
  EXPECT_EQ(engine.wait(10).tokens.size(), 40u);

  // The document once more, and the query over the copy.
  SequenceSpec document = {.id = 20,
                           .segments = {},
                           .offset = 0,
                           .tokens = request.documents[0],
                           .generation = {},
                           .fork_of = 0};
  SequenceSpec over_copy = query_of(request, 21);
  over_copy.segments = {{20, 0}};
  engine.engine().submit({document, over_copy});
  EXPECT_EQ(engine.wait(20).finish, Finish::kEncoded);
  EXPECT_EQ(engine.wait(20).copied_rows, 20);
  expect_same_bits(engine.wait(source.id), engine.wait(21), "over a copied block");
}

// ---- what it costs

TEST(Fork, ComputesOneRowOfThePromptOneStepLater) {
  std::mt19937 random(2);
  const ModelConfig config = small_config();
  Request request = usual_request(random, config);
  request.documents.clear();
  struct Case {
    int32_t batch;
    int tokens;
    uint64_t steps;
  };
  // With 17 tokens in steps of 8, all rows but the last are there before the third step, in which
  // source and forks draw together.
  for (const Case& c : {Case{64, 20, 2}, Case{8, 20, 4}, Case{8, 17, 3}, Case{64, 1, 1}}) {
    SCOPED_TRACE(std::to_string(c.tokens) + " tokens in steps of " + std::to_string(c.batch));
    request.query = random_tokens(random, c.tokens, config.vocab_size);
    TestEngine engine(config, {.max_batch_tokens = c.batch});
    SequenceSpec source = query_of(request, kSource);
    source.generation->max_tokens = 1;
    engine.engine().submit({source, fork_of(source, 51, 1), fork_of(source, 52, 2)});
    for (const int64_t id : {50, 51, 52}) ASSERT_EQ(engine.wait(id).finish, Finish::kLength);
    EXPECT_EQ(engine.engine().stats().steps, c.steps);
    EXPECT_EQ(engine.engine().stats().rows, static_cast<uint64_t>(c.tokens) + 2);
    EXPECT_EQ(engine.wait(50).copied_rows, 0);
    EXPECT_EQ(engine.wait(51).copied_rows, c.tokens - 1);

    // What one row costs that sees them all.
    const double qkv = 2.0 * 48 * (96 + 64);
    const double rest = 2.0 * 96 * 48 + 6.0 * 48 * 80;
    EXPECT_DOUBLE_EQ(engine.wait(52).flops, 3 * (qkv + rest + 4.0 * 96 * c.tokens) + 2.0 * 48 * 97);
  }
}

// ---- refusals

TEST(Fork, IsRefusedUnlessThePromptIsTheSame) {
  std::mt19937 random(5);
  const ModelConfig config = small_config();
  const Request request = usual_request(random, config);
  TestEngine engine(config, {});
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  const SequenceSpec source = specs.back();
  specs.push_back(
      {.id = 2, .segments = {}, .offset = 0, .tokens = request.documents[0], .generation = {}});
  engine.engine().submit(std::move(specs));
  ASSERT_EQ(engine.wait(source.id).finish, Finish::kLength);
  ASSERT_EQ(engine.wait(2).finish, Finish::kEncoded);
  const int32_t free_pages = engine.engine().stats().free_pages;

  const auto refusal = [&](const std::function<void(SequenceSpec&)>& change) {
    SequenceSpec fork = fork_of(source, 9, 1);
    change(fork);
    try {
      engine.engine().submit({fork});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_EQ(engine.engine().stats().running, 0);
      EXPECT_EQ(engine.engine().stats().free_pages, free_pages);
      return std::string(error.what());
    }
    return std::string("taken");
  };
  const auto expect_other_prompt = [&](const std::function<void(SequenceSpec&)>& change) {
    EXPECT_NE(refusal(change).find("whose prompt is another"), std::string::npos);
  };
  expect_other_prompt([](SequenceSpec& fork) { ++fork.tokens[3]; });
  expect_other_prompt([](SequenceSpec& fork) { fork.tokens.pop_back(); });
  expect_other_prompt([](SequenceSpec& fork) { fork.tokens.push_back(1); });
  expect_other_prompt([](SequenceSpec& fork) { ++fork.offset; });
  expect_other_prompt([](SequenceSpec& fork) { fork.segments.clear(); });
  expect_other_prompt([](SequenceSpec& fork) {
    ++fork.segments[0].offset;
    ++fork.offset;
  });
  // The same tokens, but another block.
  expect_other_prompt([](SequenceSpec& fork) { fork.segments[0].id = 2; });
  EXPECT_NE(refusal([](SequenceSpec& fork) { fork.fork_of = 77; }).find("does not exist"),
            std::string::npos);
  EXPECT_NE(refusal([](SequenceSpec& fork) { fork.fork_of = fork.id; }).find("does not exist"),
            std::string::npos);

  // An id that names another block by now.
  engine.engine().release(0);
  engine.engine().submit(
      {{.id = 0, .segments = {}, .offset = 0, .tokens = request.documents[0], .generation = {}}});
  wait_for_all(engine.engine());
  expect_other_prompt([](SequenceSpec&) {});
}

TEST(Fork, WithoutPagesTakesNothing) {
  std::mt19937 random(6);
  const ModelConfig config = small_config();
  const Request request = usual_request(random, config);
  // A document of 2 pages, and queries of 3.
  TestEngine engine(config, {.pages = 9});
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  const SequenceSpec source = specs.back();
  engine.engine().submit(std::move(specs));
  const std::vector<SequenceSpec> forks = {fork_of(source, 8, 1), fork_of(source, 9, 2)};
  try {
    engine.engine().submit(forks);
    FAIL() << "expected OUT_OF_PAGES";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfPages);
  }
  engine.engine().submit({forks[0]});
  expect_same_bits(unforked(config, request, 1), engine.wait(8), "the fork that fits");
  for (const int64_t id : {0, 1, 8}) engine.engine().release(id);
  EXPECT_TRUE(engine.all_pages_come_back());
}

}  // namespace
}  // namespace block_attention::test
