#include "model/weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "model/group_outliers.hpp"
#include "model/packed_weights.hpp"
#include "model/score_error.hpp"
#include "model/stacked_matrix.hpp"

namespace block_attention {
namespace {

// Scores whose rounding error is greater, in nats, keep their layer's q, k and v in stored
// precision. In the shipped model one layer of five passes it, and holds more than half of what
// int8 would cost the whole model (docs/quantization.md).
constexpr double kMostScoreError = 0.024;
// A matrix in which single values rule the rounding of their groups more than this is kept as it is
// stored (group_outliers.hpp): halfway between normal values and nothing but outliers.
constexpr double kMostGroupOutliers = 1.65;

class Loader {
 public:
  Loader(const ModelConfig& config, WeightSource& source, Backend& backend, WeightFormat format,
         PackedFiles files, LoadProgress progress)
      : config_(config),
        source_(source),
        backend_(backend),
        format_(format),
        files_(files),
        progress_(progress),
        matrices_(stacked_matrices(config)) {}

  void load(ModelWeights& weights) {
    const auto always = [] { return true; };
    weights.embed_tokens = next_linear(always);
    for (int32_t i = 0; i < config_.num_layers; ++i) {
      const std::string layer = layer_prefix(i);
      LayerWeights& w = weights.layers.emplace_back();
      w.input_norm = vector(layer + "input_layernorm", config_.hidden_size);
      w.qkv = next_linear([&] { return score_error(layer) <= kMostScoreError; });
      if (config_.qk_norm) {
        w.q_norm = vector(layer + "self_attn.q_norm", config_.head_dim);
        w.k_norm = vector(layer + "self_attn.k_norm", config_.head_dim);
      }
      w.o = next_linear(always);
      w.post_attention_norm = vector(layer + "post_attention_layernorm", config_.hidden_size);
      w.gate_up = next_linear(always);
      w.down = next_linear(always);
    }
    weights.norm = vector("model.norm", config_.hidden_size);
    if (!config_.tie_word_embeddings) weights.lm_head = next_linear(always);
  }

 private:
  // In int8 only if it is `fit` for that, which is asked where no file says.
  std::unique_ptr<LinearWeight> next_linear(FunctionRef<bool()> fit) {
    const size_t index = next_++;
    const StackedMatrix& matrix = matrices_[index];
    const std::vector<HostMatrix> parts = parts_of(matrix);
    const std::vector<float> bias = bias_of(matrix);
    if (files_.reader != nullptr && files_.reader->holds(index))
      return backend_.packed_weights()->restore_linear(kept(index, parts), bias);
    const bool int8 = format_ == WeightFormat::kInt8 && matrix.multiplied &&
                      files_.reader == nullptr && fit() && !has_outliers(matrix);
    const std::vector<float> input_norm =
        matrix.input_norm.empty() ? std::vector<float>()
                                  : source_.vector(matrix.input_norm + ".weight", matrix.cols);
    std::unique_ptr<LinearWeight> weight = backend_.make_linear(
        parts, bias, input_norm, int8 ? WeightFormat::kInt8 : WeightFormat::kStored);
    if (files_.writer != nullptr) {
      files_.writer->add(int8 ? backend_.packed_weights()->packed_view(*weight)
                              : std::span<const char>());
    }
    return weight;
  }

  std::unique_ptr<VectorWeight> vector(const std::string& name, int64_t size) {
    return backend_.make_vector(source_.vector(name + ".weight", size));
  }

  std::vector<HostMatrix> parts_of(const StackedMatrix& matrix) {
    std::vector<HostMatrix> parts;
    for (const StackedMatrix::Part& part : matrix.parts)
      parts.push_back(counted(source_.matrix(part.name + ".weight", part.rows, matrix.cols)));
    return parts;
  }

  std::vector<float> bias_of(const StackedMatrix& matrix) {
    const auto has_bias = [&](const StackedMatrix::Part& part) {
      return source_.has(part.name + ".bias");
    };
    if (std::none_of(matrix.parts.begin(), matrix.parts.end(), has_bias)) return {};
    std::vector<float> bias;
    for (const StackedMatrix::Part& part : matrix.parts) {
      // A part without a bias among parts with one adds nothing.
      const std::vector<float> values =
          has_bias(part) ? source_.vector(part.name + ".bias", part.rows)
                         : std::vector<float>(static_cast<size_t>(part.rows), 0.0f);
      bias.insert(bias.end(), values.begin(), values.end());
    }
    return bias;
  }

  double score_error(const std::string& layer) {
    const auto values = [&](const std::string& name, bool present, int64_t size) {
      return present ? source_.vector(name, size) : std::vector<float>();
    };
    const std::string q = layer + "self_attn.q_proj";
    const std::string k = layer + "self_attn.k_proj";
    const auto q_bias = values(q + ".bias", source_.has(q + ".bias"), config_.q_size());
    const auto k_bias = values(k + ".bias", source_.has(k + ".bias"), config_.kv_size());
    const auto q_norm =
        values(layer + "self_attn.q_norm.weight", config_.qk_norm, config_.head_dim);
    const auto k_norm =
        values(layer + "self_attn.k_norm.weight", config_.qk_norm, config_.head_dim);
    const auto input_norm = source_.vector(layer + "input_layernorm.weight", config_.hidden_size);
    return block_attention::score_error(
        {source_.matrix(q + ".weight", config_.q_size(), config_.hidden_size), q_bias, q_norm},
        {source_.matrix(k + ".weight", config_.kv_size(), config_.hidden_size), k_bias, k_norm},
        input_norm, config_.head_dim);
  }

  bool has_outliers(const StackedMatrix& matrix) {
    return std::any_of(
        matrix.parts.begin(), matrix.parts.end(), [&](const StackedMatrix::Part& part) {
          return group_outliers(source_.matrix(part.name + ".weight", part.rows, matrix.cols)) >
                 kMostGroupOutliers;
        });
  }

  // Says so for each slice that is read, since one matrix alone can take seconds.
  HostMatrix counted(HostMatrix matrix) {
    const size_t row_bytes = static_cast<size_t>(matrix.cols) * dtype_size(matrix.dtype);
    matrix.read = [this, row_bytes, read = std::move(matrix.read)](int64_t first, int64_t count,
                                                                   void* out) {
      read(first, count, out);
      count_bytes(static_cast<size_t>(count) * row_bytes);
    };
    return matrix;
  }

  // The matrix as the file has it. Each slice counts for its share of the matrix as it is stored,
  // so that the sum is the same as without the file.
  PackedMatrix kept(size_t index, const std::vector<HostMatrix>& parts) {
    const int64_t rows = matrices_[index].rows();
    const int64_t cols = matrices_[index].cols;
    const double stored = static_cast<double>(rows) * static_cast<double>(cols) *
                          static_cast<double>(dtype_size(parts.front().dtype));
    const double share =
        stored / static_cast<double>(backend_.packed_weights()->packed_bytes(rows, cols));
    const auto read = [this, index, share](size_t slice, void* out, size_t bytes) {
      files_.reader->read(index, slice, out, bytes);
      const size_t begin = slice * kPackedSlice;
      const auto counted_up_to = [share](size_t end) {
        return static_cast<size_t>(std::llround(share * static_cast<double>(end)));
      };
      count_bytes(counted_up_to(begin + bytes) - counted_up_to(begin));
    };
    return {rows, cols, read};
  }

  void count_bytes(size_t bytes) {
    progress_(done_.fetch_add(bytes) + bytes, source_.total_bytes());
  }

  const ModelConfig& config_;
  WeightSource& source_;
  Backend& backend_;
  WeightFormat format_;
  PackedFiles files_;
  LoadProgress progress_;
  std::vector<StackedMatrix> matrices_;
  size_t next_ = 0;
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

void load_weights(ModelWeights& weights, const ModelConfig& config, WeightSource& source,
                  Backend& backend, WeightFormat format, LoadProgress progress, PackedFiles files) {
  Loader(config, source, backend, format, files, progress).load(weights);
}

ModelWeights load_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                          WeightFormat format, LoadProgress progress) {
  ModelWeights weights;
  load_weights(weights, config, source, backend, format, progress, {});
  return weights;
}

std::string int8_rules() {
  return "score error " + std::to_string(kMostScoreError) + ", group outliers " +
         std::to_string(kMostGroupOutliers);
}

}  // namespace block_attention
