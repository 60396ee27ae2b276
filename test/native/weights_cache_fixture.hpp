// A model in a file, loaded in int8 by way of a folder that keeps its weights, and without.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.hpp"
#include "engine_fixture.hpp"
#include "linear_support.hpp"
#include "model/packed_weights.hpp"
#include "model/weights_cache.hpp"
#include "model_file.hpp"
#include "temporary_folder.hpp"

namespace block_attention::test {

// Whose largest matrix has several slices.
inline ModelConfig several_slices() {
  ModelConfig config = small_config();
  config.vocab_size = 9001;
  return config;
}

// Counts the rows of matrices that are read.
class CountingWeights : public WeightSource {
 public:
  explicit CountingWeights(FileWeights weights) : weights_(std::move(weights)) {}

  bool has(const std::string& name) const override { return weights_.has(name); }
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override {
    HostMatrix matrix = weights_.matrix(name, rows, cols);
    matrix.read = [this, read = matrix.read](int64_t first, int64_t count, void* out) {
      rows_read += count;
      read(first, count, out);
    };
    return matrix;
  }
  std::vector<float> vector(const std::string& name, int64_t size) override {
    return weights_.vector(name, size);
  }
  size_t total_bytes() const override { return weights_.total_bytes(); }
  std::string identity() const override { return weights_.identity(); }

  std::atomic<int64_t> rows_read{0};

 private:
  FileWeights weights_;
};

struct Loaded {
  std::unique_ptr<Backend> backend;
  ModelWeights weights;
  WeightsCacheReport report;
  int64_t rows_read = 0;
};

inline std::vector<const LinearWeight*> linear_weights(const ModelWeights& weights) {
  std::vector<const LinearWeight*> all = {weights.embed_tokens.get()};
  for (const LayerWeights& layer : weights.layers)
    all.insert(all.end(), {layer.qkv.get(), layer.o.get(), layer.gate_up.get(), layer.down.get()});
  if (weights.lm_head) all.push_back(weights.lm_head.get());
  return all;
}

// What decides every product: formats, packed bytes, and what one row with a bias comes to.
inline void expect_same(Loaded& one, Loaded& other) {
  EXPECT_EQ(one.backend->numerics(), other.backend->numerics());
  const auto ones = linear_weights(one.weights);
  const auto others = linear_weights(other.weights);
  ASSERT_EQ(ones.size(), others.size());
  for (size_t i = 0; i < ones.size(); ++i) {
    ASSERT_EQ(ones[i]->format(), others[i]->format()) << i;
    ASSERT_EQ(ones[i]->bytes(), others[i]->bytes()) << i;
    const auto product = [i](Backend& backend, const LinearWeight& weight) {
      std::vector<float> x(static_cast<size_t>(weight.in_features()));
      for (size_t k = 0; k < x.size(); ++k) x[k] = std::sin(static_cast<float>(k + i));
      std::vector<float> out(static_cast<size_t>(weight.out_features()));
      backend.linear(view(x, 1, weight.in_features(), weight.in_features()), weight,
                     view(out, 1, weight.out_features(), weight.out_features()));
      return out;
    };
    EXPECT_EQ(product(*one.backend, *ones[i]), product(*other.backend, *others[i])) << i;
    if (ones[i]->format() == WeightFormat::kStored) continue;
    const auto bytes = one.backend->packed_weights()->packed_view(*ones[i]);
    const auto other_bytes = other.backend->packed_weights()->packed_view(*others[i]);
    ASSERT_EQ(bytes.size(), other_bytes.size());
    EXPECT_EQ(std::memcmp(bytes.data(), other_bytes.data(), bytes.size()), 0) << i;
  }
}

struct CachedLoad {
  ModelConfig config = several_slices();
  ModelFile::Options model = {};
  Isa isa = default_isa();
  int threads = 2;
  std::string folder = {};  // unless said, that of the test
  std::function<void(size_t, size_t)> progress = [](size_t, size_t) {};
};

class WeightsCacheFixture : public ::testing::Test {
 protected:
  Loaded load(const CachedLoad& options, bool cached) {
    const std::string path = files_.path("model");
    if (!model_) model_.emplace(options.config, path, options.model);
    CountingWeights source(model_->weights());
    Loaded loaded{make_cpu_backend(options.threads, options.isa), {}, {}};
    const LoadProgress progress = options.progress;
    if (cached) {
      loaded.weights = load_cached_weights(options.config, source, *loaded.backend,
                                           options.folder.empty() ? cache() : options.folder,
                                           progress, loaded.report);
    } else {
      loaded.weights =
          load_weights(options.config, source, *loaded.backend, WeightFormat::kInt8, progress);
    }
    loaded.rows_read = source.rows_read;
    return loaded;
  }
  Loaded load_cached(const CachedLoad& options = {}) { return load(options, true); }
  Loaded load_plain(const CachedLoad& options = {}) { return load(options, false); }

  std::string cache() const { return files_.path("cache"); }
  std::vector<std::string> cached_files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(cache()))
      names.push_back(entry.path().filename().string());
    return names;
  }
  void write_model_anew() { model_.reset(); }

  TemporaryFolder files_;
  std::optional<ModelFile> model_;
};

}  // namespace block_attention::test
