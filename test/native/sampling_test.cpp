#include "cpu/sampling.hpp"

#include <algorithm>
#include <numeric>

#include "allocations.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

// The same definition written plainly: float64, everything sorted.
struct Reference {
  std::vector<double> logits;   // with bias and penalties
  std::vector<int32_t> order;   // kept tokens, likeliest first
  std::vector<double> weights;  // by token; 0 if not kept

  // `slack` moves every boundary: what is kept with -slack and with +slack frames what a float32
  // sampler may keep.
  Reference(const std::vector<float>& raw, const SamplingRow& row, double slack = 0) {
    const SamplingParams& params = *row.params;
    for (float x : raw) logits.push_back(std::isnan(x) ? -INFINITY : double{x});
    for (const auto& [token, bias] : params.logit_bias) at(token) += double{bias};
    for (const TokenCount& count : row.counts) {
      double& x = at(count.token);
      x = x < 0 ? x * double{params.repetition_penalty} : x / double{params.repetition_penalty};
      if (count.generated > 0) {
        x -= count.generated * double{params.frequency_penalty} + double{params.presence_penalty};
      }
    }
    const size_t n = logits.size();
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return at(a) > at(b); });
    while (!order.empty() && at(order.back()) == -INFINITY) order.pop_back();
    weights.assign(n, 0);
    if (order.empty() || params.temperature == 0) return;

    const double max = at(order[0]);
    const auto weight = [&](int32_t token) {
      return std::exp((at(token) - max) / double{params.temperature});
    };
    if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size()) {
      const double kth = at(order[static_cast<size_t>(params.top_k) - 1]);
      std::erase_if(order, [&](int32_t token) { return at(token) < kth; });
    }
    if (params.top_p < 1) {
      double total = 0;
      for (int32_t token : order) total += weight(token);
      double mass = 0;
      size_t kept = 0;
      while (kept < order.size() && (kept == 0 || mass < (double{params.top_p} + slack) * total)) {
        mass += weight(order[kept++]);
      }
      order.resize(kept);
    }
    std::erase_if(order, [&](int32_t token) {
      return token != order[0] && weight(token) < double{params.min_p} * (1 - slack);
    });
    for (int32_t token : order) weights[static_cast<size_t>(token)] = weight(token);
  }

  double& at(int32_t token) { return logits[static_cast<size_t>(token)]; }
  double total() const { return std::accumulate(weights.begin(), weights.end(), 0.0); }

  // The token that the number u in [0, 1) draws, in the order of ids.
  int32_t pick(double u) const {
    double target = u * total();
    for (size_t i = 0; i < weights.size(); ++i) {
      if (target < weights[i]) return static_cast<int32_t>(i);
      target -= weights[i];
    }
    return -1;
  }
};

double log_total(const std::vector<float>& raw) {
  double max = -INFINITY;
  for (float x : raw) max = std::isnan(x) ? max : std::max(max, double{x});
  double sum = 0;
  for (float x : raw) sum += std::isnan(x) ? 0 : std::exp(double{x} - max);
  return max + std::log(sum);
}

SampledToken sample_one(Sampler& sampler, const std::vector<float>& raw, const SamplingRow& row) {
  std::vector<float> logits = raw;
  const int64_t vocab = static_cast<int64_t>(raw.size());
  SampledToken out;
  out.token = -7;
  sampler.sample({logits.data(), DType::kF32, 1, vocab, vocab}, {&row, 1}, {&out, 1});
  EXPECT_TRUE(same_bits(logits, raw)) << "the logits were not restored";
  return out;
}

class SamplingTest : public ::testing::TestWithParam<Isa> {
 protected:
  SampledToken sample(const std::vector<float>& raw, const SamplingParams& params,
                      uint64_t position = 0, std::span<const TokenCount> counts = {}) {
    return sample_one(sampler_, raw, {&params, counts, position});
  }
  std::vector<int> histogram(const std::vector<float>& raw, const SamplingParams& params, int draws,
                             std::span<const TokenCount> counts = {}) {
    std::vector<int> times(raw.size(), 0);
    for (int i = 0; i < draws; ++i) {
      ++times[static_cast<size_t>(sample(raw, params, static_cast<uint64_t>(i), counts).token)];
    }
    return times;
  }
  // Which tokens ever come.
  std::vector<int32_t> support(const std::vector<float>& raw, const SamplingParams& params,
                               int draws = 400) {
    const std::vector<int> times = histogram(raw, params, draws);
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i] > 0) tokens.push_back(static_cast<int32_t>(i));
    }
    return tokens;
  }

  ThreadPool pool_{1};
  Sampler sampler_{GetParam(), pool_};
};
INSTANTIATE_TEST_SUITE_P(Isas, SamplingTest, ::testing::ValuesIn(supported_isas()), IsaName());

using Tokens = std::vector<int32_t>;

// Logits of every kind: rounded (many equal ones), with -inf, with NaN.
std::vector<float> random_logits(Random& random, size_t vocab) {
  const float scale = static_cast<float>(random.uniform() * 6 + 0.1);
  std::vector<float> logits = random.normals(vocab, scale);
  const bool rounded = random.chance(0.3);
  const double holes = random.chance(0.3) ? 0.3 : 0;
  for (float& x : logits) {
    if (rounded) x = std::round(x);
    if (random.chance(holes)) x = random.chance(0.5) ? -kInf : kNan;
  }
  logits[static_cast<size_t>(random.between(0, static_cast<int64_t>(vocab) - 1))] = 1.5f;
  return logits;
}

size_t random_vocab(Random& random) {
  switch (random.between(0, 4)) {
    case 0:
      return static_cast<size_t>(random.between(1, 40));
    case 1:
      return 512;
    case 2:
      return static_cast<size_t>(random.between(500, 1100));
    default:
      return static_cast<size_t>(random.between(41, 6000));
  }
}

TEST_P(SamplingTest, GreedyTakesTheLowestIdAmongTheLargest) {
  const uint64_t seed = 21;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const SamplingParams greedy;
  for (int round = 0; round < 300; ++round) {
    const std::vector<float> raw = random_logits(random, random_vocab(random));
    const Reference reference(raw, {&greedy, {}, 0});
    const SampledToken out = sample(raw, greedy);
    ASSERT_TRUE(out.valid);
    ASSERT_EQ(out.token, reference.order[0]) << "vocab " << raw.size();
  }
  EXPECT_EQ(sample({-0.0f, 0.0f, -1}, greedy).token, 0);
  EXPECT_EQ(sample({kNan, -kInf, -3e38f, kNan}, greedy).token, 2);
}

TEST_P(SamplingTest, LogprobsAreThoseOfTheRawDistribution) {
  const uint64_t seed = 22;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int round = 0; round < 100; ++round) {
    const std::vector<float> raw = random_logits(random, random_vocab(random));
    SamplingParams params;
    params.temperature = random.chance(0.5) ? 0 : 0.7f;
    params.top_logprobs = static_cast<int32_t>(random.between(0, 30));
    params.repetition_penalty = 1.3f;
    params.logit_bias = {{0, 3.0f}};
    const std::vector<TokenCount> counts = {{0, 1}, {static_cast<int32_t>(raw.size()) - 1, 0}};
    const SampledToken out = sample(raw, params, 9, counts);
    ASSERT_TRUE(out.valid);
    const double total = log_total(raw);
    ASSERT_NEAR(out.logprob, double{raw[static_cast<size_t>(out.token)]} - total, 2e-6);

    const SamplingParams greedy;
    const Tokens likeliest = Reference(raw, {&greedy, {}, 0}).order;
    ASSERT_EQ(out.top_logprobs.size(),
              std::min(static_cast<size_t>(params.top_logprobs), likeliest.size()));
    for (size_t i = 0; i < out.top_logprobs.size(); ++i) {
      const TokenLogprob& top = out.top_logprobs[i];
      ASSERT_EQ(top.token, likeliest[i]) << i;
      ASSERT_NEAR(top.logprob, double{raw[static_cast<size_t>(top.token)]} - total, 2e-6);
    }
  }
}

TEST_P(SamplingTest, LogprobsOfAllTokensAddUpToOne) {
  Random random(23);
  const std::vector<float> raw = random.normals(3000, 3);
  SamplingParams params;
  params.top_logprobs = 100000;
  const SampledToken out = sample(raw, params);
  ASSERT_EQ(out.top_logprobs.size(), raw.size());
  double sum = 0;
  for (const TokenLogprob& top : out.top_logprobs) sum += std::exp(double{top.logprob});
  EXPECT_NEAR(sum, 1, 1e-5);
}

TEST_P(SamplingTest, FindsTheLikeliestInWhateverOrderTheyCome) {
  constexpr size_t kVocab = 20000;
  std::vector<float> raw(kVocab);
  SamplingParams params;
  params.top_logprobs = 1500;
  const auto check = [&] {
    const SampledToken out = sample(raw, params);
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

TEST_P(SamplingTest, SaysWhenNoTokenCanBeDrawn) {
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
      const SampledToken out = sample(raw, params);
      EXPECT_FALSE(out.valid);
      EXPECT_EQ(out.token, 0);
      EXPECT_TRUE(std::isnan(out.logprob));
      EXPECT_TRUE(out.top_logprobs.empty());
    }
    const SampledToken out = sample({1, 2, 3}, banned);
    EXPECT_FALSE(out.valid);
    EXPECT_EQ(out.token, 0);
    EXPECT_TRUE(std::isnan(out.logprob));
    EXPECT_TRUE(sample({1, 2, 3, 4}, banned).valid);
    EXPECT_EQ(sample({1, 2, 3, 4}, banned).token, 3);
  }
}

// The whole definition against the plain one: the same number draws the same token, unless a
// boundary lies within the rounding of float32 weights.
TEST_P(SamplingTest, DrawsWhatThePlainDefinitionDraws) {
  const uint64_t seed = 24;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  int compared = 0;
  for (int round = 0; round < 800; ++round) {
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
    const Reference low(raw, row, -1e-5);
    const Reference high(raw, row, 1e-5);
    const double u = random_uniform(params.seed, position);
    const int32_t token = low.pick(u);
    const bool sure = low.order == high.order && token == low.pick(std::max(u - 1e-5, 0.0)) &&
                      token == low.pick(std::min(u + 1e-5, 1 - 1e-12));
    const SampledToken out = sample_one(sampler_, raw, row);
    ASSERT_TRUE(out.valid);
    if (sure) {
      ++compared;
      ASSERT_EQ(out.token, token) << "round " << round << " vocab " << vocab << " T "
                                  << params.temperature << " top_k " << params.top_k << " top_p "
                                  << params.top_p << " min_p " << params.min_p;
    }
  }
  EXPECT_GT(compared, 500);
}

// Independent of how numbers become tokens: the frequencies are those of the distribution.
TEST_P(SamplingTest, FrequenciesFitTheDistribution) {
  const uint64_t seed = 25;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const std::vector<TokenCount> counts = {{1, 2}, {3, 0}, {7, 1}};
  constexpr int kDraws = 20000;
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
    const Reference reference(raw, {&params, used, 0});
    const std::vector<int> times = histogram(raw, params, kDraws, used);
    double chi_square = 0;
    int degrees = -1;
    for (size_t i = 0; i < raw.size(); ++i) {
      const double expected = kDraws * reference.weights[i] / reference.total();
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

TEST_P(SamplingTest, TopPKeepsTheSmallestSetWithThatMass) {
  // Probabilities 1/2, 1/4, 1/8, 1/16, 1/16, at ids 4, 2, 0, 1, 3.
  const float unit = std::log(2.0f);
  const std::vector<float> raw = {-3 * unit, -4 * unit, -2 * unit, -4 * unit, -1 * unit};
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 1e-9f;
  EXPECT_EQ(support(raw, params), (Tokens{4}));
  params.top_p = 0;
  EXPECT_EQ(support(raw, params), (Tokens{4}));
  params.top_p = 0.4999f;
  EXPECT_EQ(support(raw, params), (Tokens{4}));
  params.top_p = 0.5001f;
  EXPECT_EQ(support(raw, params), (Tokens{2, 4}));
  params.top_p = 0.8f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 2, 4}));
  params.top_p = 0.9f;  // the lower id of the two equals
  EXPECT_EQ(support(raw, params), (Tokens{0, 1, 2, 4}));
  params.top_p = 0.95f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1, 2, 3, 4}));
  params.top_p = std::nextafter(1.0f, 0.0f);
  EXPECT_EQ(support(raw, params).size(), 5u);
  params.top_p = 1;
  EXPECT_EQ(support(raw, params).size(), 5u);
}

TEST_P(SamplingTest, TopPTakesEqualTokensByTheirIds) {
  // A tie that spans several chunks, cut in its middle.
  const std::vector<float> raw(2000, 0.25f);
  SamplingParams params;
  params.temperature = 0.8f;
  params.top_p = 0.6f - 1e-4f;
  int32_t largest = 0;
  for (uint64_t i = 0; i < 20000; ++i) largest = std::max(largest, sample(raw, params, i).token);
  EXPECT_LE(largest, 1199);
  EXPECT_GE(largest, 1190);
}

TEST_P(SamplingTest, TopKKeepsAllThatAreAsLikelyAsTheLast) {
  const std::vector<float> raw = {0, 2, 1, 1, 1, 0.5f, -kInf};
  SamplingParams params;
  params.temperature = 3;
  params.top_k = 1;
  EXPECT_EQ(support(raw, params), (Tokens{1}));
  params.top_k = 2;
  EXPECT_EQ(support(raw, params), (Tokens{1, 2, 3, 4}));
  params.top_k = 5;
  EXPECT_EQ(support(raw, params), (Tokens{1, 2, 3, 4, 5}));
  for (int32_t off : {0, 6, 7, 1000}) {
    params.top_k = off;
    EXPECT_EQ(support(raw, params), (Tokens{0, 1, 2, 3, 4, 5})) << off;
  }
}

TEST_P(SamplingTest, TopPCountsTheMassThatTopKLeft) {
  // 0.4, 0.3, 0.3 without top-k; 4/7 and 3/7 with it.
  const std::vector<float> raw = {std::log(0.4f), std::log(0.31f), std::log(0.29f)};
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.5f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1}));
  params.top_k = 2;
  EXPECT_EQ(support(raw, params), (Tokens{0}));
}

TEST_P(SamplingTest, MinPIsRelativeToTheLikeliest) {
  const std::vector<float> raw = {0, std::log(0.5f), std::log(0.25f), std::log(0.1f)};
  SamplingParams params;
  params.temperature = 1;
  params.min_p = 0.09f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1, 2, 3}));
  params.min_p = 0.2f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1, 2}));
  params.min_p = 0.3f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1}));
  params.min_p = 1;
  EXPECT_EQ(support(raw, params), (Tokens{0}));
  params.temperature = 2;  // the weights are those after temperature
  params.min_p = 0.6f;
  EXPECT_EQ(support(raw, params), (Tokens{0, 1}));
}

TEST_P(SamplingTest, ExtremeTemperaturesAreGreedyAndUniform) {
  const std::vector<float> raw = {-3e38f, 1, 2, 2, -kInf, 1.5f, 3e38f, -5};
  SamplingParams params;
  for (float cold : {1e-45f, 1e-30f, 1e-6f}) {
    params.temperature = cold;
    EXPECT_EQ(support(raw, params), (Tokens{6})) << cold;
    params.top_p = 0.5f;
    EXPECT_EQ(support(raw, params), (Tokens{6})) << cold;
    params.top_p = 1;
  }
  params.temperature = 3e38f;
  EXPECT_EQ(support({0, 5, -5, 9}, params), (Tokens{0, 1, 2, 3}));
}

TEST_P(SamplingTest, IgnoresIdsOutsideTheVocabulary) {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.logit_bias = {{-1, 100}, {3, 100}, {1 << 30, 100}};
  const std::vector<TokenCount> counts = {{-1, 1}, {3, 1}, {2, 1}};
  EXPECT_EQ(sample({1, 2, 3}, params, 0, counts).token, 1);
}

TEST_P(SamplingTest, ADrawDependsOnSeedAndPositionAlone) {
  Random random(26);
  const std::vector<float> raw = random.normals(2000, 0.5f);
  SamplingParams params;
  params.temperature = 1;
  params.seed = 5;
  const int32_t first = sample(raw, params, 3).token;
  EXPECT_NE(sample(raw, params, 4).token, first);
  EXPECT_EQ(sample(raw, params, 3).token, first);
  params.seed = 6;
  EXPECT_NE(sample(raw, params, 3).token, first);
}

TEST_P(SamplingTest, RowsDoNotKnowTheirBatchOrThreads) {
  const uint64_t seed = 27;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  constexpr size_t kRows = 24;
  constexpr size_t kVocab = 3001;
  constexpr size_t kStride = 3010;
  std::vector<float> logits(kRows * kStride, 0);
  std::vector<SamplingParams> params(kRows);
  std::vector<SamplingRow> rows(kRows);
  const std::vector<TokenCount> counts = {{5, 1}, {77, 3}, {3000, 0}};
  for (size_t i = 0; i < kRows; ++i) {
    const std::vector<float> raw = random_logits(random, kVocab);
    std::copy(raw.begin(), raw.end(), logits.begin() + static_cast<ptrdiff_t>(i * kStride));
    params[i].temperature = i % 3 == 0 ? 0 : 0.9f;
    params[i].top_k = i % 4 == 1 ? 40 : 0;
    params[i].top_p = i % 2 == 0 ? 0.9f : 1;
    params[i].repetition_penalty = i % 5 == 0 ? 1.2f : 1;
    params[i].seed = i;
    params[i].top_logprobs = static_cast<int32_t>(i % 6) - 1;
    rows[i] = {&params[i], counts, i * 7};
  }
  std::vector<SampledToken> alone(kRows);
  for (size_t i = 0; i < kRows; ++i) {
    const auto begin = logits.begin() + static_cast<ptrdiff_t>(i * kStride);
    alone[i] = sample_one(sampler_, {begin, begin + kVocab}, rows[i]);
  }
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    Sampler sampler(GetParam(), pool);
    std::vector<SampledToken> batch(kRows);
    for (int round = 0; round < 5; ++round) {
      sampler.sample({logits.data(), DType::kF32, kRows, kVocab, kStride}, rows, batch);
      for (size_t i = 0; i < kRows; ++i) {
        ASSERT_EQ(batch[i].token, alone[i].token) << i;
        ASSERT_EQ(std::memcmp(&batch[i].logprob, &alone[i].logprob, sizeof(float)), 0) << i;
        ASSERT_EQ(batch[i].top_logprobs.size(), alone[i].top_logprobs.size());
        for (size_t j = 0; j < alone[i].top_logprobs.size(); ++j) {
          ASSERT_EQ(batch[i].top_logprobs[j].token, alone[i].top_logprobs[j].token);
          ASSERT_EQ(batch[i].top_logprobs[j].logprob, alone[i].top_logprobs[j].logprob);
        }
      }
    }
  }
}

TEST_P(SamplingTest, AllocatesNothingAfterWarmUp) {
  Random random(28);
  std::vector<float> logits = random.normals(5000, 2);
  SamplingParams params;
  params.temperature = 1;
  params.top_k = 700;
  params.top_p = 0.95f;
  params.min_p = 0.001f;
  params.repetition_penalty = 1.1f;
  params.top_logprobs = 20;
  const std::vector<TokenCount> counts = {{1, 1}, {2, 2}};
  SamplingRow row = {&params, counts, 0};
  SampledToken out;
  const Tensor tensor = {logits.data(), DType::kF32, 1, 5000, 5000};
  sampler_.sample(tensor, {&row, 1}, {&out, 1});
  const uint64_t before = allocation_count();
  for (; row.position < 50; ++row.position) sampler_.sample(tensor, {&row, 1}, {&out, 1});
  EXPECT_EQ(allocation_count(), before);
}

}  // namespace
}  // namespace block_attention::test
