// Requests with forks for a TestEngine.
#pragma once

#include <chrono>
#include <random>
#include <thread>

#include "engine_requests.hpp"

namespace block_attention::test {

inline constexpr int64_t kSource = 50;

// The query of `request`, whose documents have the ids 0, 1, ...
inline SequenceSpec query_of(const Request& request, int64_t id) {
  SequenceSpec spec = sequences(request, 0, false).back();
  spec.id = id;
  return spec;
}

// A document, and a query that takes more than two pages and ends inside one.
inline Request usual_request(std::mt19937& random, const ModelConfig& config) {
  Request request;
  request.documents = {random_tokens(random, 21, config.vocab_size)};
  request.query = random_tokens(random, 37, config.vocab_size);
  request.sampling.temperature = 1.3f;
  request.sampling.top_p = 0.95f;
  request.sampling.repetition_penalty = 1.1f;
  request.sampling.top_logprobs = config.vocab_size;
  return request;
}

inline Outcome unforked(const ModelConfig& config, Request request, uint64_t seed) {
  request.sampling.seed = seed;
  return run_alone(config, request, false, {});
}

// Also of sequences that say nothing any more, since they were released.
inline void wait_for_all(const Engine& engine) {
  while (engine.stats().unreported > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace block_attention::test
