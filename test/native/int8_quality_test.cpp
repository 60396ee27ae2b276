// What int8 weights do to the distribution of the first token, beside Q8_0 of llama.cpp on the same
// random models with outliers planted: weights rounded in blocks of 32, and activations too, as
// llama.cpp computes, or the weights alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/dtype.hpp"
#include "core/random.hpp"
#include "cpu/cpu_backend.hpp"
#include "engine_fixture.hpp"
#include "engine_requests.hpp"
#include "model/random_weights.hpp"
#include "q8_0.hpp"

namespace block_attention::test {
namespace {

// What int8 may cost, in units of what Q8_0 costs.
constexpr double kMostRatio = 1.5;
constexpr int kPrompts = 24;

ModelConfig quality_config() {
  ModelConfig config;
  config.vocab_size = 1000;
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.num_layers = 4;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  config.rms_norm_eps = 1e-5f;
  config.tie_word_embeddings = true;
  config.windows = {0, 0, 0, 0};
  for (int i = 0; i < 32; ++i) config.inv_freq.push_back(std::pow(10000.0, -i / 32.0));
  return config;
}

struct Outliers {
  const char* name;
  bool norms;    // a few channels of every norm 20 to 60 times the others
  bool columns;  // a few columns of every matrix 10 to 20 times the others
};

constexpr Outliers kOutliers[] = {
    {"None", false, false}, {"Norms", true, false}, {"Columns", false, true}, {"Both", true, true}};
constexpr uint64_t kOutlierCount = 3;

// The norm whose output a matrix reads; empty: of none.
std::string norm_before(const std::string& name) {
  const auto has = [&name](const char* part) { return name.find(part) != std::string::npos; };
  const std::string layer = name.substr(0, name.find('.', std::string("model.layers.").size()));
  if (has("q_proj") || has("k_proj") || has("v_proj")) return layer + ".input_layernorm.weight";
  if (has("gate_proj") || has("up_proj")) return layer + ".post_attention_layernorm.weight";
  return has("embed_tokens") ? "model.norm.weight" : "";
}

// Normal values. What comes of a row has the size that it would have without outliers, as in a
// trained model: else all attention falls on one key, and every rounding turns it to another.
class OutlierWeights final : public RandomWeights {
 public:
  OutlierWeights(const ModelConfig& config, uint64_t seed, const Outliers& outliers)
      : RandomWeights(config, seed, DType::kF32), seed_(seed), outliers_(outliers) {}

  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override {
    std::vector<float> columns =
        outliers_.columns ? factors(name, cols, 10, 20) : RandomWeights::vector(name, cols);
    const std::string norm = norm_before(name);
    const std::vector<float> inputs = vector(norm, cols);
    double power = 0;
    for (size_t i = 0; i < columns.size(); ++i) {
      const double factor = double{columns[i]} * (norm.empty() ? 1.0 : double{inputs[i]});
      power += factor * factor;
    }
    const double size = std::sqrt(power / static_cast<double>(cols));
    for (float& column : columns) column = static_cast<float>(double{column} / size);

    HostMatrix plain = RandomWeights::matrix(name, rows, cols);
    const auto read = [read = plain.read, columns, cols](int64_t first, int64_t count, void* out) {
      read(first, count, out);
      float* values = static_cast<float*>(out);
      for (int64_t i = 0; i < count * cols; ++i)
        values[i] *= columns[static_cast<size_t>(i % cols)];
    };
    return {read, DType::kF32, rows, cols};
  }
  std::vector<float> vector(const std::string& name, int64_t size) override {
    return outliers_.norms ? factors(name, size, 20, 60) : RandomWeights::vector(name, size);
  }

 private:
  // Ones, and a few between `least` and `most`.
  std::vector<float> factors(const std::string& name, int64_t size, double least, double most) {
    uint64_t stream = seed_;
    for (const char c : name) stream = random_u64(stream, static_cast<unsigned char>(c));
    std::vector<float> all(static_cast<size_t>(size), 1.0f);
    for (uint64_t i = 0; i < kOutlierCount; ++i) {
      const uint64_t at = random_u64(stream, 2 * i) % all.size();
      all[at] = static_cast<float>(least + (most - least) * random_uniform(stream, 2 * i + 1));
    }
    return all;
  }

  uint64_t seed_;
  Outliers outliers_;
};

// Log-probabilities of the first token, in order of the tokens.
using Distribution = std::vector<double>;

double divergence(const Distribution& reference, const Distribution& other) {
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = std::exp(reference[i]);
    if (p > 0) sum += p * (reference[i] - other[i]);
  }
  return sum;
}

std::vector<Request> prompts(uint64_t seed, int32_t vocab) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::vector<Request> requests(kPrompts);
  for (Request& request : requests) {
    for (int i = 0; i < 2; ++i) request.documents.push_back(random_tokens(random, 20, vocab));
    request.query = random_tokens(random, 8, vocab);
    request.sampling.top_logprobs = vocab;
  }
  return requests;
}

std::vector<Distribution> answers(const ModelConfig& config, const std::vector<Request>& requests,
                                  TestEngine::Options options) {
  options.kv_dtype = DType::kF32;
  options.pages = 1024;
  TestEngine engine(config, options);
  std::vector<int64_t> queries;
  int64_t next = 0;
  for (const Request& request : requests) {
    std::vector<SequenceSpec> specs = sequences(request, next, false);
    specs.back().generation->max_tokens = 1;
    next = specs.back().id + 1;
    queries.push_back(specs.back().id);
    engine.engine().submit(std::move(specs));
  }
  std::vector<Distribution> distributions;
  for (const int64_t id : queries) {
    const Outcome outcome = engine.wait(id);
    EXPECT_EQ(outcome.finish, Finish::kLength) << outcome.error;
    EXPECT_EQ(outcome.top_tokens.size(), static_cast<size_t>(config.vocab_size));
    Distribution& distribution = distributions.emplace_back(
        static_cast<size_t>(config.vocab_size), -std::numeric_limits<double>::infinity());
    for (size_t i = 0; i < outcome.top_tokens.size(); ++i)
      distribution[static_cast<size_t>(outcome.top_tokens[i])] = double{outcome.top_logprobs[i]};
  }
  return distributions;
}

double mean_divergence(const std::vector<Distribution>& reference,
                       const std::vector<Distribution>& other) {
  double sum = 0;
  for (size_t i = 0; i < reference.size(); ++i) sum += divergence(reference[i], other[i]);
  return sum / static_cast<double>(reference.size());
}

class Int8QualityTest : public testing::TestWithParam<std::tuple<Outliers, uint64_t>> {};

TEST_P(Int8QualityTest, CostsAtMostHalfAsMuchAgainAsQ8) {
  const auto [outliers, seed] = GetParam();
  const ModelConfig config = quality_config();
  const std::vector<Request> requests = prompts(seed, config.vocab_size);
  const auto stored = [&config, outliers = outliers, seed = seed] {
    return std::make_unique<OutlierWeights>(config, seed, outliers);
  };
  const auto reference = answers(config, requests, {.make_weights = stored});
  const auto cost = [&](const TestEngine::Options& options) {
    return mean_divergence(reference, answers(config, requests, options));
  };
  const auto q8_weights = [&stored] { return std::make_unique<Q8Weights>(stored()); };
  const auto q8_activations = [] { return std::make_unique<Q8Activations>(make_cpu_backend(1)); };

  const double int8 = cost({.weight_format = WeightFormat::kInt8, .make_weights = stored});
  const double q8 = cost({.make_weights = q8_weights, .make_backend = q8_activations});
  const double weights_alone = cost({.make_weights = q8_weights});

  std::printf("KL of int8 %.3g, %.2f of Q8_0's %.3g, %.2f of that of Q8_0 weights alone\n", int8,
              int8 / q8, q8, int8 / weights_alone);
  RecordProperty("int8_of_q8_0", std::to_string(int8 / q8));
  RecordProperty("int8_of_q8_0_weights_alone", std::to_string(int8 / weights_alone));
  EXPECT_LE(int8, kMostRatio * q8);
  EXPECT_LE(int8, kMostRatio * weights_alone);
  EXPECT_GT(weights_alone, 0);
  // Matrices with outliers stay as they are stored (model/group_outliers.hpp); else there is a
  // cost.
  EXPECT_TRUE(outliers.columns || int8 > 0);
}

INSTANTIATE_TEST_SUITE_P(Outliers, Int8QualityTest,
                         testing::Combine(testing::ValuesIn(kOutliers), testing::Values(1, 2, 3)),
                         [](const testing::TestParamInfo<Int8QualityTest::ParamType>& info) {
                           return std::string(std::get<0>(info.param).name) + "_seed" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace block_attention::test
