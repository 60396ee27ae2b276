// Random requests for a TestEngine, on any backend.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine_fixture.hpp"

namespace block_attention::test {

inline std::vector<int32_t> random_tokens(std::mt19937& random, int count, int32_t vocab) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t& token : tokens)
    token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  return tokens;
}

// A request: documents in block mode, and a query that generates.
struct Request {
  std::vector<std::vector<int32_t>> documents;
  std::vector<int32_t> query;
  SamplingParams sampling;
};

inline Request random_request(std::mt19937& random, int32_t vocab) {
  Request request;
  const int documents = static_cast<int>(random() % 6);
  for (int i = 0; i < documents; ++i) {
    request.documents.push_back(random_tokens(random, 1 + static_cast<int>(random() % 70), vocab));
  }
  request.query = random_tokens(random, 1 + static_cast<int>(random() % 20), vocab);
  request.sampling.top_logprobs = vocab;
  if (random() % 2 == 0) {
    request.sampling.temperature = 0.9f;
    request.sampling.top_p = 0.95f;
    request.sampling.repetition_penalty = 1.1f;
    request.sampling.seed = random();
  }
  return request;
}

// Document d of `request` gets id first_id + d and the query first_id + documents.size(). In full
// mode a document sees all before it.
inline std::vector<SequenceSpec> sequences(const Request& request, int64_t first_id, bool full) {
  std::vector<SequenceSpec> specs;
  std::vector<SegmentSpec> segments;
  int32_t offset = 0;
  for (size_t i = 0; i <= request.documents.size(); ++i) {
    const bool query = i == request.documents.size();
    SequenceSpec spec;
    spec.id = first_id + static_cast<int64_t>(i);
    spec.offset = offset;
    spec.tokens = query ? request.query : request.documents[i];
    if (query || full) spec.segments = segments;
    if (query) spec.generation = GenerationSpec{6, {}, request.sampling, {}};
    segments.push_back({spec.id, offset});
    offset += static_cast<int32_t>(spec.tokens.size());
    specs.push_back(std::move(spec));
  }
  return specs;
}

// Another answer to the prompt of `source`, drawn with `seed`, that copies its KV states.
inline SequenceSpec fork_of(SequenceSpec source, int64_t id, uint64_t seed) {
  source.fork_of = source.id;
  source.id = id;
  source.generation->sampling.seed = seed;
  return source;
}

inline Outcome run_alone(const ModelConfig& config, const Request& request, bool full,
                         TestEngine::Options options) {
  TestEngine engine(config, options);
  engine.engine().submit(sequences(request, 0, full));
  return engine.wait(static_cast<int64_t>(request.documents.size()));
}

inline void expect_same_bits(const Outcome& a, const Outcome& b, const std::string& what) {
  ASSERT_EQ(a.finish, b.finish) << what << ": " << a.error << b.error;
  EXPECT_EQ(a.tokens, b.tokens) << what;
  EXPECT_EQ(a.logprobs, b.logprobs) << what;
  EXPECT_EQ(a.top_tokens, b.top_tokens) << what;
  EXPECT_EQ(a.top_logprobs, b.top_logprobs) << what;
}

}  // namespace block_attention::test
