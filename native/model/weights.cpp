#include "model/weights.hpp"

#include <atomic>
#include <initializer_list>
#include <utility>

namespace block_attention {
namespace {

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
    return backend_.make_linear(matrices, bias, format);
  }

  std::unique_ptr<VectorWeight> vector(const std::string& name, int64_t size) {
    return backend_.make_vector(source_.vector(name + ".weight", size));
  }

 private:
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
    w.qkv = loader.linear({{layer + "self_attn.q_proj", config.q_size()},
                           {layer + "self_attn.k_proj", config.kv_size()},
                           {layer + "self_attn.v_proj", config.kv_size()}},
                          config.hidden_size, format);
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
