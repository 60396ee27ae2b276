// The weights of a config as one file holds them, with outliers and biases where a test wants them.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "core/dtype.hpp"
#include "model/file_weights.hpp"
#include "model/random_weights.hpp"
#include "model/stacked_matrix.hpp"
#include "temporary_folder.hpp"

namespace block_attention::test {

struct ModelFile {
  struct Options {
    uint64_t seed = 7;
    bool bias = false;  // of q and v
    // Rows by columns of a matrix, as it is stored.
    void (*change)(const std::string& name, std::vector<uint16_t>& bf16, int64_t cols) = nullptr;
  };

  ModelFile(const ModelConfig& config, const std::string& path, const Options& options)
      : files({path}) {
    RandomWeights source(config, options.seed, DType::kBF16);
    std::string content;
    const auto add = [&](const std::string& name, DType dtype, std::vector<int64_t> shape,
                         const void* data, size_t bytes) {
      tensors.push_back({name, 0, dtype, std::move(shape), content.size(), bytes});
      content.append(static_cast<const char*>(data), bytes);
    };
    const auto add_vector = [&](const std::string& name, int64_t size, float value) {
      const std::vector<float> values(static_cast<size_t>(size), value);
      add(name, DType::kF32, {size}, values.data(), values.size() * sizeof(float));
    };
    for (const StackedMatrix& matrix : stacked_matrices(config)) {
      for (const StackedMatrix::Part& part : matrix.parts) {
        std::vector<uint16_t> values(static_cast<size_t>(part.rows * matrix.cols));
        source.matrix(part.name, part.rows, matrix.cols).read(0, part.rows, values.data());
        if (options.change != nullptr) options.change(part.name, values, matrix.cols);
        add(part.name + ".weight", DType::kBF16, {part.rows, matrix.cols}, values.data(),
            values.size() * sizeof(uint16_t));
        const bool biased = part.name.ends_with("q_proj") || part.name.ends_with("v_proj");
        if (options.bias && biased) add_vector(part.name + ".bias", part.rows, 0.5f);
      }
    }
    for (int32_t i = 0; i < config.num_layers; ++i) {
      add_vector(layer_prefix(i) + "input_layernorm.weight", config.hidden_size, 1);
      add_vector(layer_prefix(i) + "post_attention_layernorm.weight", config.hidden_size, 1);
    }
    add_vector("model.norm.weight", config.hidden_size, 1);
    write_file(path, content);
  }

  FileWeights weights() const { return FileWeights(files, tensors); }

  std::vector<std::string> files;
  std::vector<TensorLocation> tensors;
};

}  // namespace block_attention::test
