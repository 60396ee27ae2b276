#include "model/weights.hpp"

#include <algorithm>
#include <atomic>
#include <initializer_list>
#include <utility>

#include "model/group_outliers.hpp"
#include "model/score_error.hpp"

namespace block_attention {
namespace {

// Scores whose rounding error is greater, in nats, keep their layer's q, k and v in stored
// precision. In the shipped model one layer of five passes it, and holds more than half of what
// int8 would cost the whole model (docs/quantization.md).
constexpr double kMostScoreError = 0.03;
// A matrix in which single values rule the rounding of their groups more than this is kept as it is
// stored (group_outliers.hpp): halfway between normal values and nothing but outliers.
constexpr double kMostGroupOutliers = 1.65;

class Loader {
 public:
  Loader(WeightSource& source, Backend& backend, FunctionRef<void(size_t, size_t)> progress)
      : source_(source), backend_(backend), progress_(progress) {}

  struct Part {
    std::string name;  // without ".weight"
    int64_t rows;
  };

  std::unique_ptr<LinearWeight> linear(std::initializer_list<Part> parts, int64_t cols,
                                       WeightFormat format) {
    std::vector<HostMatrix> matrices;
    std::vector<float> bias;
    bool any_bias = false;
    for (const Part& part : parts) any_bias = any_bias || source_.has(part.name + ".bias");
    for (const Part& part : parts) {
      matrices.push_back(counted(source_.matrix(part.name + ".weight", part.rows, cols)));
      if (!any_bias) continue;
      // A part without a bias among parts with one adds nothing.
      const std::vector<float> values =
          source_.has(part.name + ".bias")
              ? source_.vector(part.name + ".bias", part.rows)
              : std::vector<float>(static_cast<size_t>(part.rows), 0.0f);
      bias.insert(bias.end(), values.begin(), values.end());
    }
    if (format == WeightFormat::kInt8 && has_outliers(parts, cols)) format = WeightFormat::kStored;
    return backend_.make_linear(matrices, bias, format);
  }

  // Of the layer `layer`, whose input is normed by `input_norm`.
  double score_error(const std::string& layer, const ModelConfig& config,
                     std::span<const float> input_norm) {
    const auto values = [&](const std::string& name, bool present, int64_t size) {
      return present ? source_.vector(name, size) : std::vector<float>();
    };
    const std::string q = layer + "self_attn.q_proj";
    const std::string k = layer + "self_attn.k_proj";
    const auto q_bias = values(q + ".bias", source_.has(q + ".bias"), config.q_size());
    const auto k_bias = values(k + ".bias", source_.has(k + ".bias"), config.kv_size());
    const auto q_norm = values(layer + "self_attn.q_norm.weight", config.qk_norm, config.head_dim);
    const auto k_norm = values(layer + "self_attn.k_norm.weight", config.qk_norm, config.head_dim);
    return block_attention::score_error(
        {source_.matrix(q + ".weight", config.q_size(), config.hidden_size), q_bias, q_norm},
        {source_.matrix(k + ".weight", config.kv_size(), config.hidden_size), k_bias, k_norm},
        input_norm, config.head_dim);
  }

  std::unique_ptr<VectorWeight> vector(const std::string& name, int64_t size) {
    return backend_.make_vector(source_.vector(name + ".weight", size));
  }

 private:
  bool has_outliers(std::initializer_list<Part> parts, int64_t cols) {
    return std::any_of(parts.begin(), parts.end(), [&](const Part& part) {
      return group_outliers(source_.matrix(part.name + ".weight", part.rows, cols)) >
             kMostGroupOutliers;
    });
  }

  // Says so for each slice that is read, since one matrix alone can take seconds.
  HostMatrix counted(HostMatrix matrix) {
    const size_t row_bytes = static_cast<size_t>(matrix.cols) * dtype_size(matrix.dtype);
    matrix.read = [this, row_bytes, read = std::move(matrix.read)](int64_t first, int64_t count,
                                                                   void* out) {
      read(first, count, out);
      const size_t bytes = static_cast<size_t>(count) * row_bytes;
      progress_(done_.fetch_add(bytes) + bytes, source_.total_bytes());
    };
    return matrix;
  }

  WeightSource& source_;
  Backend& backend_;
  FunctionRef<void(size_t, size_t)> progress_;
  std::atomic<size_t> done_{0};
};

}  // namespace

size_t ModelWeights::bytes() const {
  size_t sum = embed_tokens->bytes() + (lm_head ? lm_head->bytes() : 0);
  for (const LayerWeights& layer : layers) {
    sum += layer.qkv->bytes() + layer.o->bytes() + layer.gate_up->bytes() + layer.down->bytes();
  }
  return sum;
}

ModelWeights load_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                          WeightFormat format, FunctionRef<void(size_t, size_t)> progress) {
  Loader loader(source, backend, progress);
  ModelWeights weights;
  weights.embed_tokens =
      loader.linear({{"model.embed_tokens", config.vocab_size}}, config.hidden_size,
                    config.tie_word_embeddings ? format : WeightFormat::kStored);
  for (int32_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    LayerWeights& w = weights.layers.emplace_back();
    w.input_norm = loader.vector(layer + "input_layernorm", config.hidden_size);
    const bool keeps_scores =
        format == WeightFormat::kStored ||
        loader.score_error(layer, config,
                           source.vector(layer + "input_layernorm.weight", config.hidden_size)) <=
            kMostScoreError;
    w.qkv = loader.linear({{layer + "self_attn.q_proj", config.q_size()},
                           {layer + "self_attn.k_proj", config.kv_size()},
                           {layer + "self_attn.v_proj", config.kv_size()}},
                          config.hidden_size, keeps_scores ? format : WeightFormat::kStored);
    if (config.qk_norm) {
      w.q_norm = loader.vector(layer + "self_attn.q_norm", config.head_dim);
      w.k_norm = loader.vector(layer + "self_attn.k_norm", config.head_dim);
    }
    w.o =
        loader.linear({{layer + "self_attn.o_proj", config.hidden_size}}, config.q_size(), format);
    w.post_attention_norm = loader.vector(layer + "post_attention_layernorm", config.hidden_size);
    w.gate_up = loader.linear({{layer + "mlp.gate_proj", config.intermediate_size},
                               {layer + "mlp.up_proj", config.intermediate_size}},
                              config.hidden_size, format);
    w.down = loader.linear({{layer + "mlp.down_proj", config.hidden_size}},
                           config.intermediate_size, format);
  }
  weights.norm = loader.vector("model.norm", config.hidden_size);
  if (!config.tie_word_embeddings) {
    weights.lm_head = loader.linear({{"lm_head", config.vocab_size}}, config.hidden_size, format);
  }
  return weights;
}

}  // namespace block_attention
