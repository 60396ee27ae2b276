// The weights of a model as a backend holds them, and where they come from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/function_ref.hpp"
#include "model/backend.hpp"
#include "model/model_config.hpp"

namespace block_attention {

// Gives tensors by their transformers name ("model.layers.0.self_attn.q_proj.weight").
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool has(const std::string& name) const = 0;
  // A matrix of rows x cols, to be read while this source lives. Throws Error(kModelFormat) naming
  // the tensor.
  virtual HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) = 0;
  // A vector of `size` values as float32.
  virtual std::vector<float> vector(const std::string& name, int64_t size) = 0;
  virtual size_t total_bytes() const = 0;
};

struct LayerWeights {
  std::unique_ptr<VectorWeight> input_norm;
  std::unique_ptr<LinearWeight> qkv;     // [q; k; v]
  std::unique_ptr<VectorWeight> q_norm;  // null without qk_norm
  std::unique_ptr<VectorWeight> k_norm;
  std::unique_ptr<LinearWeight> o;
  std::unique_ptr<VectorWeight> post_attention_norm;
  std::unique_ptr<LinearWeight> gate_up;  // [gate; up]
  std::unique_ptr<LinearWeight> down;
};

struct ModelWeights {
  std::unique_ptr<LinearWeight> embed_tokens;
  std::vector<LayerWeights> layers;
  std::unique_ptr<VectorWeight> norm;
  std::unique_ptr<LinearWeight> lm_head;  // null if tied to embed_tokens

  const LinearWeight& output() const { return lm_head ? *lm_head : *embed_tokens; }
  size_t bytes() const;
};

// Hands every weight to the backend. In int8 every matrix is that a product is made with; a table
// of embeddings apart from the LM head stays as it is stored, since only rows of it are read.
// `progress(done_bytes, total_bytes)` is called after each slice
// of a matrix, on any of the backend's threads and out of order; it may throw to abort.
ModelWeights load_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                          WeightFormat format, FunctionRef<void(size_t, size_t)> progress);

}  // namespace block_attention
