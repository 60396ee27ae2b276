// What host and device tell each other about the rows of a sampling call: plain data.
#pragma once

#include <cstdint>

namespace block_attention::cuda {

// One row's parameters. Its bias, counts and likeliest tokens are parts of arrays that all rows of
// the call share.
struct RowTask {
  double uniform = 0;  // in [0, 1): the random number
  double top_p = 1;
  double top_p_offset = 0;   // added to the largest logit: none smaller is needed for top-p
  double min_p_offset = 0;   // added to the largest logit: none smaller may be drawn
  float exponent_scale = 0;  // log2(e) / temperature
  int32_t top_k = 0;         // 0: off
  int32_t greedy = 1;
  int32_t top_logprobs = -1;  // -1: none; at most the vocabulary
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  int32_t first_bias = 0;
  int32_t biases = 0;
  int32_t first_count = 0;
  int32_t counts = 0;
  int32_t padding = 0;
  int64_t first_likeliest = 0;
};

// Sorted by token, equal tokens in the order in which their biases are added.
struct LogitBias {
  int32_t token = 0;
  float bias = 0;
  int32_t place = 0;  // in the order in which the biases of a token are added
};

struct TokenLogit {
  int32_t token = 0;
  float logit = 0;
};

struct RowResult {
  uint64_t raw_total = 0;  // weights of the raw distribution, 1 being weight_of_one(vocab)
  int32_t token = 0;
  int32_t valid = 0;
  float raw_max = 0;
  float raw_logit = 0;    // the drawn token's
  int32_t likeliest = 0;  // how many were found
  int32_t padding = 0;
};

// Weights are integers: the likeliest token's is this power of two. All of a vocabulary together
// stay below 2^64.
constexpr uint64_t weight_of_one(int32_t vocab) {
  int bits = 0;
  while ((static_cast<uint32_t>(vocab) >> bits) != 0) ++bits;
  return uint64_t{1} << (64 - bits);
}

}  // namespace block_attention::cuda
