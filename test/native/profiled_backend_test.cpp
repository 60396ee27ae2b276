// Times of ops are counted op by op, and nothing else is different.
#include "model/profiled_backend.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "engine_fixture.hpp"
#include "engine_requests.hpp"

namespace block_attention::test {
namespace {

std::map<std::string, uint64_t> calls_of(TestEngine& engine) {
  std::map<std::string, uint64_t> calls;
  for (const OpTime& time : engine.engine().profile()->read()) {
    EXPECT_GE(time.milliseconds, 0) << time.op;
    EXPECT_EQ(time.milliseconds > 0, time.calls > 0) << time.op;
    calls[time.op] = time.calls;
  }
  return calls;
}

TEST(ProfiledBackendTest, CountsEveryOpOfAStep) {
  ModelConfig config = small_config();
  const auto layers = static_cast<uint64_t>(config.num_layers);
  // The LM head is a matrix of its own, or the embedding's.
  for (const bool tied : {true, false}) {
    config.tie_word_embeddings = tied;
    TestEngine engine(config, {.profile = true});
    for (const auto& [op, calls] : calls_of(engine)) EXPECT_EQ(calls, 0u) << op;

    SequenceSpec block;
    block.id = 1;
    block.tokens = {1, 2, 3};
    engine.engine().submit({block});
    EXPECT_EQ(engine.wait(1).finish, Finish::kEncoded);
    // A step without logits ends in the last layer with the keys.
    EXPECT_EQ(calls_of(engine), (std::map<std::string, uint64_t>{{"copy_pages", 0},
                                                                 {"plan_attention", 1},
                                                                 {"embedding", 1},
                                                                 {"rms_norm", 1},
                                                                 {"add_rms_norm", 2 * layers - 2},
                                                                 {"qkv", layers},
                                                                 {"rope_store", layers},
                                                                 {"attention", layers - 1},
                                                                 {"gather_rows", 0},
                                                                 {"o", layers - 1},
                                                                 {"gate_up", layers - 1},
                                                                 {"down", layers - 1},
                                                                 {"lm_head", 0},
                                                                 {"sample", 0},
                                                                 {"other", 1}}));

    const std::map<std::string, uint64_t> before = calls_of(engine);
    SequenceSpec query;
    query.id = 2;
    query.segments = {{1, 0}};
    query.offset = 3;
    query.tokens = {4, 5};
    query.generation.emplace();
    query.generation->max_tokens = 4;
    engine.engine().submit({query});
    EXPECT_EQ(engine.wait(2).finish, Finish::kLength);
    const std::map<std::string, uint64_t> one_step = {
        {"plan_attention", 2}, {"embedding", 1},
        {"rms_norm", 1},       {"add_rms_norm", 2 * layers},
        {"qkv", layers},       {"rope_store", layers},
        {"attention", layers}, {"gather_rows", 2},
        {"o", layers},         {"gate_up", layers},
        {"down", layers},      {"lm_head", 1},
        {"sample", 1},         {"other", 1}};
    std::map<std::string, uint64_t> expected = before;
    for (const auto& [op, calls] : one_step) expected[op] += 4 * calls;
    // Three of the four steps decode: all rows are wanted, as they are.
    expected["plan_attention"] -= 3;
    expected["gather_rows"] -= 3 * 2;
    EXPECT_EQ(calls_of(engine), expected);
  }
}

TEST(ProfiledBackendTest, GivesTheSameBits) {
  std::mt19937 random(11);
  const ModelConfig config = small_config(40);
  for (int round = 0; round < 4; ++round) {
    const Request request = random_request(random, config.vocab_size);
    expect_same_bits(run_alone(config, request, false, {.threads = 2}),
                     run_alone(config, request, false, {.threads = 2, .profile = true}),
                     "round " + std::to_string(round));
  }
}

TEST(ProfiledBackendTest, IsNotThereUnlessAskedFor) {
  TestEngine engine(small_config(), {});
  EXPECT_EQ(engine.engine().profile(), nullptr);
}

}  // namespace
}  // namespace block_attention::test
