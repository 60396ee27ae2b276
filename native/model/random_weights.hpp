// Random weights of a config's shape, the same for the same seed: models for timing, which no file
// holds.
#pragma once

#include <vector>

#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace block_attention {

class RandomWeights : public WeightSource {
 public:
  RandomWeights(const ModelConfig& config, uint64_t seed, DType dtype);

  // There are no biases.
  bool has(const std::string&) const override { return false; }
  // Normally distributed with deviation 1 / sqrt(cols), so that activations keep their size.
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override;
  // Norm weights: ones.
  std::vector<float> vector(const std::string& name, int64_t size) override;
  size_t total_bytes() const override { return total_bytes_; }

 private:
  uint64_t seed_;
  DType dtype_;
  size_t total_bytes_ = 0;
};

}  // namespace block_attention
