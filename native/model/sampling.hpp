// How a token is drawn from logits. The order of the operations is that of transformers' generate:
// on the raw logits first the bias, then the repetition penalty (then presence and frequency, which
// it lacks), then temperature, then top-k, top-p and min-p. Log-probabilities are of the raw
// distribution, before all of them.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace block_attention {

struct SamplingParams {
  float temperature = 0;  // 0: greedy, the lowest id among equals
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off; the smallest set of tokens with at least this mass, never empty
  float min_p =
      0;  // 0: off; keeps tokens with at least min_p times the probability of the likeliest
  float repetition_penalty =
      1;  // Keskar et al. 2019 (CTRL), eq. 13; over prompt and generated tokens
  float presence_penalty = 0;   // subtracted once if the token was generated (OpenAI's definition)
  float frequency_penalty = 0;  // subtracted once per occurrence among the generated tokens
  uint64_t seed = 0;
  int32_t top_logprobs = -1;  // -1: no log-probabilities; n: the drawn token's and the n likeliest
  std::vector<std::pair<int32_t, float>> logit_bias;

  bool has_penalties() const {
    return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0;
  }
};

// How often a token occurred; kept only for sequences with penalties, sorted by nothing, one entry
// per distinct token.
struct TokenCount {
  int32_t token = 0;
  int32_t generated = 0;  // 0: it occurs in the prompt alone
};

struct SamplingRow {
  const SamplingParams* params = nullptr;
  std::span<const TokenCount> counts;  // empty without penalties
  uint64_t position =
      0;  // how many tokens this sequence has generated: the random number's counter
};

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
};

struct SampledToken {
  int32_t token = 0;
  // False if the logits allow no draw: none is larger than -inf (NaN counts as -inf), or one is
  // +inf. Then token is 0, logprob is NaN and top_logprobs is empty.
  bool valid = true;
  float logprob = 0;  // 0 unless params->top_logprobs >= 0
  // Likeliest first, lower id first among equals; fewer than asked for if fewer tokens are
  // possible. Capacity is reused.
  std::vector<TokenLogprob> top_logprobs;
};

}  // namespace block_attention
