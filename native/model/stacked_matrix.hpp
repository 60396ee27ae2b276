// The matrices of a model that become one linear weight each, by the names of transformers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_config.hpp"

namespace block_attention {

struct StackedMatrix {
  struct Part {
    std::string name;  // without ".weight"
    int64_t rows;
  };

  // Stacked along the output features.
  std::vector<Part> parts;
  int64_t cols = 0;
  // The norm whose output it multiplies, without ".weight"; empty: none.
  std::string input_norm;
  // Of a table of embeddings apart from the LM head only rows are read.
  bool multiplied = true;

  int64_t rows() const {
    int64_t sum = 0;
    for (const Part& part : parts) sum += part.rows;
    return sum;
  }
};

// In the order in which they are loaded: the embeddings; q, k and v, o, gate and up, and down of
// every layer; the LM head, unless it is tied to the embeddings.
std::vector<StackedMatrix> stacked_matrices(const ModelConfig& config);

// "model.layers.3."
std::string layer_prefix(int32_t layer);

}  // namespace block_attention
