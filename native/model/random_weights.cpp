#include "model/random_weights.hpp"

#include <cmath>

#include "core/random.hpp"

namespace block_attention {
namespace {

// FNV-1a, so that every tensor has a stream of its own.
uint64_t hash_name(const std::string& name) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace

RandomWeights::RandomWeights(const ModelConfig& config, uint64_t seed, DType dtype)
    : seed_(seed), dtype_(dtype) {
  const int64_t layer = int64_t{config.hidden_size} * (config.qkv_size() + config.q_size()) +
                        3 * int64_t{config.hidden_size} * config.intermediate_size;
  const int64_t embedding = int64_t{config.vocab_size} * config.hidden_size;
  const int64_t values =
      config.num_layers * layer + (config.tie_word_embeddings ? 1 : 2) * embedding;
  total_bytes_ = static_cast<size_t>(values) * dtype_size(dtype);
}

HostMatrix RandomWeights::matrix(const std::string& name, int64_t rows, int64_t cols) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(cols));
  const uint64_t seed = seed_ ^ hash_name(name);
  const auto read = [dtype = dtype_, scale, seed, cols](int64_t first, int64_t count, void* out) {
    fill_random(dtype, scale, seed, static_cast<uint64_t>(first * cols),
                static_cast<size_t>(count * cols), out);
  };
  HostMatrix matrix(read, dtype_, rows, cols);
  matrix.random = RandomValues{seed, scale};
  return matrix;
}

std::vector<float> RandomWeights::vector(const std::string&, int64_t size) {
  return std::vector<float>(static_cast<size_t>(size), 1.0f);
}

}  // namespace block_attention
