// The weights of a model as a backend holds them, and where they come from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/function_ref.hpp"
#include "model/backend.hpp"
#include "model/model_config.hpp"
#include "model/packed_file.hpp"

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
  // Tells sources with other tensors from this one, as far as can be told without reading all of
  // them, and this one from what it is after it was changed. Empty: cannot be told.
  virtual std::string identity() const { return {}; }
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

// `progress(done_bytes, total_bytes)` is called after each slice of a matrix, on any of the
// backend's threads and out of order; it may throw to abort.
using LoadProgress = FunctionRef<void(size_t, size_t)>;

// Hands every weight to the backend. In int8 every matrix is that a product is made with, unless
// rounding would cost too much; a table of embeddings apart from the LM head stays as it is stored,
// since only rows of it are read.
ModelWeights load_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                          WeightFormat format, LoadProgress progress);

// Files of packed int8 weights beside a load in int8, whose key is the source's and the rules'
// (weights_cache.hpp); at most one is not null.
struct PackedFiles {
  // Says which matrices are in int8, and has them.
  PackedFileReader* reader = nullptr;
  // Takes them from `weights`, which must outlive it.
  PackedFileWriter* writer = nullptr;
};

void load_weights(ModelWeights& weights, const ModelConfig& config, WeightSource& source,
                  Backend& backend, WeightFormat format, LoadProgress progress, PackedFiles files);

// Names the rules by which matrices are left out of int8.
std::string int8_rules();

}  // namespace block_attention
