// What every sampler must do, whatever it runs on: the tests of the CPU's and the GPU's call these.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "model/sampling.hpp"
#include "sampling_reference.hpp"
#include "support.hpp"

namespace block_attention::test {

using Tokens = std::vector<int32_t>;

// A sampler under test.
class SamplingSubject {
 public:
  virtual ~SamplingSubject() = default;
  // One draw for each row; `logits` holds rows.size() vocabularies. Fails the test if they are not
  // the same afterwards.
  virtual std::vector<SampledToken> draw(const std::vector<float>& logits,
                                         std::span<const SamplingRow> rows) = 0;
  // How often a case does what it would do `wanted` times with a fast sampler.
  virtual int rounds(int wanted) const { return wanted; }

  SampledToken sample_one(const std::vector<float>& raw, const SamplingRow& row) {
    return draw(raw, {&row, 1}).front();
  }
  SampledToken sample(const std::vector<float>& raw, const SamplingParams& params,
                      uint64_t position = 0, std::span<const TokenCount> counts = {}) {
    return sample_one(raw, {&params, counts, position});
  }
  // How often each token comes at positions 0 to draws - 1.
  std::vector<int> histogram(const std::vector<float>& raw, const SamplingParams& params, int draws,
                             std::span<const TokenCount> counts = {}) {
    constexpr int kAtOnce = 250;
    std::vector<int> times(raw.size(), 0);
    for (int first = 0; first < draws; first += kAtOnce) {
      const int count = std::min(kAtOnce, draws - first);
      std::vector<float> logits;
      std::vector<SamplingRow> rows;
      for (int i = 0; i < count; ++i) {
        logits.insert(logits.end(), raw.begin(), raw.end());
        rows.push_back({&params, counts, static_cast<uint64_t>(first + i)});
      }
      for (const SampledToken& out : draw(logits, rows)) ++times[static_cast<size_t>(out.token)];
    }
    return times;
  }
  // Which tokens ever come.
  Tokens support(const std::vector<float>& raw, const SamplingParams& params) {
    const std::vector<int> times = histogram(raw, params, std::max(70, rounds(400)));
    Tokens tokens;
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i] > 0) tokens.push_back(static_cast<int32_t>(i));
    }
    return tokens;
  }
};

inline void greedy_takes_the_lowest_id_among_the_largest(SamplingSubject& subject) {
  const uint64_t seed = 21;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const SamplingParams greedy;
  for (int round = 0; round < subject.rounds(300); ++round) {
    const std::vector<float> raw = random_logits(random, random_vocab(random));
    const SamplingReference reference(raw, {&greedy, {}, 0});
    const SampledToken out = subject.sample(raw, greedy);
    ASSERT_TRUE(out.valid);
    ASSERT_EQ(out.token, reference.order[0]) << "vocab " << raw.size();
  }
  EXPECT_EQ(subject.sample({-0.0f, 0.0f, -1}, greedy).token, 0);
  EXPECT_EQ(subject.sample({kNan, -kInf, -3e38f, kNan}, greedy).token, 2);
}

inline void logprobs_are_those_of_the_raw_distribution(SamplingSubject& subject) {
  const uint64_t seed = 22;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < subject.rounds(100); ++round) {
    const std::vector<float> raw = random_logits(random, random_vocab(random));
    SamplingParams params;
    params.temperature = random.chance(0.5) ? 0 : 0.7f;
    params.top_logprobs = static_cast<int32_t>(random.between(0, 30));
    params.repetition_penalty = 1.3f;
    params.logit_bias = {{0, 3.0f}};
    const std::vector<TokenCount> counts = {{0, 1}, {static_cast<int32_t>(raw.size()) - 1, 0}};
    const SampledToken out = subject.sample(raw, params, 9, counts);
    ASSERT_TRUE(out.valid);
    const double total = log_total(raw);
    ASSERT_NEAR(out.logprob, double{raw[static_cast<size_t>(out.token)]} - total, 2e-6);

    const SamplingParams greedy;
    const Tokens likeliest = SamplingReference(raw, {&greedy, {}, 0}).order;
    ASSERT_EQ(out.top_logprobs.size(),
              std::min(static_cast<size_t>(params.top_logprobs), likeliest.size()));
    for (size_t i = 0; i < out.top_logprobs.size(); ++i) {
      const TokenLogprob& top = out.top_logprobs[i];
      ASSERT_EQ(top.token, likeliest[i]) << i;
      ASSERT_NEAR(top.logprob, double{raw[static_cast<size_t>(top.token)]} - total, 2e-6);
    }
  }
}

inline void logprobs_of_all_tokens_add_up_to_one(SamplingSubject& subject) {
  Random random(23);
  const std::vector<float> raw = random.normals(3000, 3);
  SamplingParams params;
  params.top_logprobs = 100000;
  const SampledToken out = subject.sample(raw, params);
  ASSERT_EQ(out.top_logprobs.size(), raw.size());
  double sum = 0;
  for (const TokenLogprob& top : out.top_logprobs) sum += std::exp(double{top.logprob});
  EXPECT_NEAR(sum, 1, 1e-5);
}

inline void finds_the_likeliest_in_whatever_order_they_come(SamplingSubject& subject) {
  constexpr size_t kVocab = 20000;
  std::vector<float> raw(kVocab);
  SamplingParams params;
  params.top_logprobs = 1500;
  const auto check = [&] {
    const SampledToken out = subject.sample(raw, params);
    ASSERT_EQ(out.top_logprobs.size(), 1500u);
    for (size_t i = 0; i < 1500; ++i) {
      const float logit = raw[static_cast<size_t>(out.top_logprobs[i].token)];
      ASSERT_EQ(logit, static_cast<float>(kVocab - 1 - i) * 0x1p-10f) << i;
    }
  };
  for (size_t i = 0; i < kVocab; ++i) raw[i] = static_cast<float>(i) * 0x1p-10f;
  check();
  std::reverse(raw.begin(), raw.end());
  check();
  for (size_t i = 0; i < kVocab; ++i) raw[i] = static_cast<float>(i * 7919 % kVocab) * 0x1p-10f;
  check();
}

inline void says_when_no_token_can_be_drawn(SamplingSubject& subject) {
  for (float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    params.top_p = 0.9f;
    params.top_k = 3;
    params.top_logprobs = 2;
    SamplingParams banned = params;
    banned.logit_bias = {{0, -kInf}, {1, -kInf}, {2, -kInf}};
    for (const std::vector<float>& raw : {std::vector<float>(5, kNan), std::vector<float>(5, -kInf),
                                          std::vector<float>{1, kInf, 2}}) {
      const SampledToken out = subject.sample(raw, params);
      EXPECT_FALSE(out.valid);
      EXPECT_EQ(out.token, 0);
      EXPECT_TRUE(std::isnan(out.logprob));
      EXPECT_TRUE(out.top_logprobs.empty());
    }
    const SampledToken out = subject.sample({1, 2, 3}, banned);
    EXPECT_FALSE(out.valid);
    EXPECT_EQ(out.token, 0);
    EXPECT_TRUE(std::isnan(out.logprob));
    EXPECT_TRUE(subject.sample({1, 2, 3, 4}, banned).valid);
    EXPECT_EQ(subject.sample({1, 2, 3, 4}, banned).token, 3);
  }
}

// The whole definition against the plain one: the same number draws the same token, unless a
// boundary lies within the rounding of float32 weights.
inline void draws_what_the_plain_definition_draws(SamplingSubject& subject) {
  const uint64_t seed = 24;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  int compared = 0;
  const int rounds = subject.rounds(800);
  for (int round = 0; round < rounds; ++round) {
    const std::vector<float> raw = random_logits(random, random_vocab(random));
    const int64_t vocab = static_cast<int64_t>(raw.size());
    SamplingParams params;
    params.temperature = static_cast<float>(0.05 + 2 * random.uniform());
    params.seed = random.bits();
    if (random.chance(0.4)) {
      params.top_k = static_cast<int32_t>(random.chance(0.7) ? random.between(1, 60)
                                                             : random.between(1, 2 * vocab));
    }
    if (random.chance(0.6)) params.top_p = static_cast<float>(random.uniform());
    if (random.chance(0.3)) params.min_p = static_cast<float>(random.uniform() * 0.3);
    std::vector<TokenCount> counts;
    if (random.chance(0.4)) {
      params.repetition_penalty = static_cast<float>(0.7 + random.uniform());
      params.presence_penalty = static_cast<float>(random.uniform() * 4 - 2);
      params.frequency_penalty = static_cast<float>(random.uniform() * 4 - 2);
      for (int32_t token = 0; token < vocab; ++token) {
        if (random.chance(0.1))
          counts.push_back({token, static_cast<int32_t>(random.between(0, 3))});
      }
    }
    if (random.chance(0.3)) {
      const int32_t token = static_cast<int32_t>(random.between(0, vocab - 1));
      params.logit_bias = {{token, 5.0f}, {0, -2.0f}, {token, 1.0f}};
    }
    const uint64_t position = random.bits();
    const SamplingRow row = {&params, counts, position};
    const SamplingReference low(raw, row, -1e-5);
    const SamplingReference high(raw, row, 1e-5);
    const double u = random_uniform(params.seed, position);
    const int32_t token = low.pick(u);
    const bool sure = low.order == high.order && token == low.pick(std::max(u - 1e-5, 0.0)) &&
                      token == low.pick(std::min(u + 1e-5, 1 - 1e-12));
    const SampledToken out = subject.sample_one(raw, row);
    ASSERT_TRUE(out.valid);
    if (sure) {
      ++compared;
      ASSERT_EQ(out.token, token) << "round " << round << " vocab " << vocab << " T "
                                  << params.temperature << " top_k " << params.top_k << " top_p "
                                  << params.top_p << " min_p " << params.min_p;
    }
  }
  EXPECT_GT(compared, rounds * 5 / 8);
}

// Independent of how numbers become tokens: the frequencies are those of the distribution.
inline void frequencies_fit_the_distribution(SamplingSubject& subject) {
  const uint64_t seed = 25;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const std::vector<TokenCount> counts = {{1, 2}, {3, 0}, {7, 1}};
  const int draws = subject.rounds(20000);
  for (int config = 0; config < 6; ++config) {
    SCOPED_TRACE(testing::Message() << "config " << config);
    const std::vector<float> raw = random.normals(30, 1.2f);
    SamplingParams params;
    params.temperature = config == 1 ? 0.6f : 1.1f;
    params.seed = static_cast<uint64_t>(config);
    if (config == 2) params.top_k = 8;
    if (config == 3) params.top_p = 0.8f;
    if (config == 4) params.min_p = 0.15f;
    if (config == 5) {
      params.repetition_penalty = 1.4f;
      params.frequency_penalty = 0.5f;
      params.presence_penalty = 0.3f;
      params.logit_bias = {{3, 1.0f}};
    }
    const std::span<const TokenCount> used = config == 5 ? counts : std::span<const TokenCount>();
    const SamplingReference reference(raw, {&params, used, 0});
    const std::vector<int> times = subject.histogram(raw, params, draws, used);
    double chi_square = 0;
    int degrees = -1;
    for (size_t i = 0; i < raw.size(); ++i) {
      const double expected = draws * reference.weights[i] / reference.total();
      if (expected == 0) {
        ASSERT_EQ(times[i], 0) << "token " << i;
        continue;
      }
      ++degrees;
      chi_square += (times[i] - expected) * (times[i] - expected) / expected;
    }
    // Mean `degrees`, deviation sqrt(2 degrees): beyond five deviations is no chance.
    EXPECT_LT(chi_square, degrees + 5 * std::sqrt(2.0 * degrees));
    EXPECT_GT(degrees, 1);
  }
}

inline void top_p_keeps_the_smallest_set_with_that_mass(SamplingSubject& subject) {
  // Probabilities 1/2, 1/4, 1/8, 1/16, 1/16, at ids 4, 2, 0, 1, 3.
  const float unit = std::log(2.0f);
  const std::vector<float> raw = {-3 * unit, -4 * unit, -2 * unit, -4 * unit, -1 * unit};
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 1e-9f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{4}));
  params.top_p = 0;
  EXPECT_EQ(subject.support(raw, params), (Tokens{4}));
  params.top_p = 0.4999f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{4}));
  params.top_p = 0.5001f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{2, 4}));
  params.top_p = 0.8f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 2, 4}));
  params.top_p = 0.9f;  // the lower id of the two equals
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1, 2, 4}));
  params.top_p = 0.95f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1, 2, 3, 4}));
  params.top_p = std::nextafter(1.0f, 0.0f);
  EXPECT_EQ(subject.support(raw, params).size(), 5u);
  params.top_p = 1;
  EXPECT_EQ(subject.support(raw, params).size(), 5u);
}

inline void top_p_takes_equal_tokens_by_their_ids(SamplingSubject& subject) {
  // A tie that spans several chunks, cut in its middle.
  const std::vector<float> raw(2000, 0.25f);
  SamplingParams params;
  params.temperature = 0.8f;
  params.top_p = 0.6f - 1e-4f;
  const std::vector<int> times = subject.histogram(raw, params, subject.rounds(20000));
  int32_t largest = 0;
  for (int32_t token = 0; token < 2000; ++token) {
    if (times[static_cast<size_t>(token)] > 0) largest = token;
  }
  EXPECT_LE(largest, 1199);
  EXPECT_GE(largest, 1190);
}

inline void top_k_keeps_all_that_are_as_likely_as_the_last(SamplingSubject& subject) {
  const std::vector<float> raw = {0, 2, 1, 1, 1, 0.5f, -kInf};
  SamplingParams params;
  params.temperature = 3;
  params.top_k = 1;
  EXPECT_EQ(subject.support(raw, params), (Tokens{1}));
  params.top_k = 2;
  EXPECT_EQ(subject.support(raw, params), (Tokens{1, 2, 3, 4}));
  params.top_k = 5;
  EXPECT_EQ(subject.support(raw, params), (Tokens{1, 2, 3, 4, 5}));
  for (int32_t off : {0, 6, 7, 1000}) {
    params.top_k = off;
    EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1, 2, 3, 4, 5})) << off;
  }
}

inline void top_p_counts_the_mass_that_top_k_left(SamplingSubject& subject) {
  // 0.4, 0.3, 0.3 without top-k; 4/7 and 3/7 with it.
  const std::vector<float> raw = {std::log(0.4f), std::log(0.31f), std::log(0.29f)};
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.5f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1}));
  params.top_k = 2;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0}));
}

inline void min_p_is_relative_to_the_likeliest(SamplingSubject& subject) {
  const std::vector<float> raw = {0, std::log(0.5f), std::log(0.25f), std::log(0.1f)};
  SamplingParams params;
  params.temperature = 1;
  params.min_p = 0.09f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1, 2, 3}));
  params.min_p = 0.2f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1, 2}));
  params.min_p = 0.3f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1}));
  params.min_p = 1;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0}));
  params.temperature = 2;  // the weights are those after temperature
  params.min_p = 0.6f;
  EXPECT_EQ(subject.support(raw, params), (Tokens{0, 1}));
}

inline void extreme_temperatures_are_greedy_and_uniform(SamplingSubject& subject) {
  const std::vector<float> raw = {-3e38f, 1, 2, 2, -kInf, 1.5f, 3e38f, -5};
  SamplingParams params;
  for (float cold : {1e-45f, 1e-30f, 1e-6f}) {
    params.temperature = cold;
    EXPECT_EQ(subject.support(raw, params), (Tokens{6})) << cold;
    params.top_p = 0.5f;
    EXPECT_EQ(subject.support(raw, params), (Tokens{6})) << cold;
    params.top_p = 1;
  }
  params.temperature = 3e38f;
  EXPECT_EQ(subject.support({0, 5, -5, 9}, params), (Tokens{0, 1, 2, 3}));
}

inline void ignores_ids_outside_the_vocabulary(SamplingSubject& subject) {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.logit_bias = {{-1, 100}, {3, 100}, {1 << 30, 100}};
  const std::vector<TokenCount> counts = {{-1, 1}, {3, 1}, {2, 1}};
  EXPECT_EQ(subject.sample({1, 2, 3}, params, 0, counts).token, 1);
}

inline void a_draw_depends_on_seed_and_position_alone(SamplingSubject& subject) {
  Random random(26);
  const std::vector<float> raw = random.normals(2000, 0.5f);
  SamplingParams params;
  params.temperature = 1;
  params.seed = 5;
  const int32_t first = subject.sample(raw, params, 3).token;
  EXPECT_NE(subject.sample(raw, params, 4).token, first);
  EXPECT_EQ(subject.sample(raw, params, 3).token, first);
  params.seed = 6;
  EXPECT_NE(subject.sample(raw, params, 3).token, first);
}

struct SamplingCase {
  const char* name;
  void (*check)(SamplingSubject&);
};

inline constexpr SamplingCase kSamplingCases[] = {
    {"GreedyTakesTheLowestIdAmongTheLargest", greedy_takes_the_lowest_id_among_the_largest},
    {"LogprobsAreThoseOfTheRawDistribution", logprobs_are_those_of_the_raw_distribution},
    {"LogprobsOfAllTokensAddUpToOne", logprobs_of_all_tokens_add_up_to_one},
    {"FindsTheLikeliestInWhateverOrderTheyCome", finds_the_likeliest_in_whatever_order_they_come},
    {"SaysWhenNoTokenCanBeDrawn", says_when_no_token_can_be_drawn},
    {"DrawsWhatThePlainDefinitionDraws", draws_what_the_plain_definition_draws},
    {"FrequenciesFitTheDistribution", frequencies_fit_the_distribution},
    {"TopPKeepsTheSmallestSetWithThatMass", top_p_keeps_the_smallest_set_with_that_mass},
    {"TopPTakesEqualTokensByTheirIds", top_p_takes_equal_tokens_by_their_ids},
    {"TopKKeepsAllThatAreAsLikelyAsTheLast", top_k_keeps_all_that_are_as_likely_as_the_last},
    {"TopPCountsTheMassThatTopKLeft", top_p_counts_the_mass_that_top_k_left},
    {"MinPIsRelativeToTheLikeliest", min_p_is_relative_to_the_likeliest},
    {"ExtremeTemperaturesAreGreedyAndUniform", extreme_temperatures_are_greedy_and_uniform},
    {"IgnoresIdsOutsideTheVocabulary", ignores_ids_outside_the_vocabulary},
    {"ADrawDependsOnSeedAndPositionAlone", a_draw_depends_on_seed_and_position_alone},
};

}  // namespace block_attention::test
