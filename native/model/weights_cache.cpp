#include "model/weights_cache.hpp"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "core/error.hpp"
#include "core/xxh64.hpp"
#include "model/packed_weights.hpp"
#include "model/stacked_matrix.hpp"

namespace block_attention {
namespace {

namespace fs = std::filesystem;

// To be raised with whatever gives the same model other packed bytes and is not in a layout's name
// or in the rules: the rounding of weights (cpu/int8_quantize.cpp), what score_error() and
// group_outliers() compute. WeightsCacheTest.TheBytesAreThoseOfTheVersion notices.
constexpr int kVersion = 2;

constexpr const char* kExtension = ".int8";

class WeightsCache {
 public:
  // `identity`: that of the source.
  WeightsCache(const ModelConfig& config, WeightSource& source, std::string identity,
               Backend& backend, const std::string& folder, LoadProgress progress,
               WeightsCacheReport& report)
      : config_(config),
        source_(source),
        identity_(std::move(identity)),
        backend_(backend),
        packed_(*backend.packed_weights()),
        folder_(folder),
        progress_(progress),
        report_(report) {
    for (const StackedMatrix& matrix : stacked_matrices(config)) {
      // Proves that the files are as large as the config says before anything is made so large.
      for (const StackedMatrix::Part& part : matrix.parts)
        source.matrix(part.name + ".weight", part.rows, matrix.cols);
      sizes_.push_back(matrix.multiplied ? packed_.packed_bytes(matrix.rows(), matrix.cols) : 0);
    }
    key_ = key();
    char name[33];
    std::snprintf(name, sizeof(name), "%016llx%016llx", static_cast<unsigned long long>(key_[0]),
                  static_cast<unsigned long long>(key_[1]));
    report_.file = (folder_ / name).string() + kExtension;
  }

  bool read(ModelWeights& weights) {
    std::error_code none;
    if (!fs::exists(fs::status(report_.file, none))) return false;
    std::optional<PackedFileReader> file;
    try {
      file.emplace(report_.file, key_, sizes_);
      load(weights, {.reader = &*file});
    } catch (const Error& error) {
      if (file && !file->damaged()) throw;
      report_.problem = error.what();
      weights = {};
      return false;
    }
    report_.state = WeightsCacheReport::State::kRead;
    return true;
  }

  // Quantises, and keeps what comes of it.
  void write(ModelWeights& weights) {
    // Behind the weights, which it reads.
    std::optional<PackedFileWriter> file;
    try {
      fs::create_directories(folder_);
      ReplacementFile::remove_abandoned(folder_, kExtension);
      file.emplace(report_.file, key_, sizes_);
    } catch (const std::exception& error) {
      fail(error.what());
    }
    load(weights, {.writer = file ? &*file : nullptr});
    if (!file) return;
    file->wait([this] { progress_(source_.total_bytes(), source_.total_bytes()); });
    try {
      if (source_.identity() != identity_)
        return fail("the files of the model changed while they were read");
      file->finish();
      report_.state = WeightsCacheReport::State::kWritten;
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }

 private:
  void load(ModelWeights& weights, PackedFiles files) {
    load_weights(weights, config_, source_, backend_, WeightFormat::kInt8, progress_, files);
  }

  void fail(const std::string& problem) {
    report_.state = WeightsCacheReport::State::kFailed;
    report_.problem = problem;
  }

  // Of all that decides which bytes the file holds.
  PackedKey key() const {
    std::string text = "int8 weights " + std::to_string(kVersion) + "\n" + packed_.packed_layout() +
                       "\n" + int8_rules() + "\n" + std::to_string(config_.num_layers) +
                       " layers, " + std::to_string(config_.num_heads) + " heads of " +
                       std::to_string(config_.head_dim) + " over " +
                       std::to_string(config_.num_kv_heads) +
                       (config_.tie_word_embeddings ? ", tied" : "") +
                       (config_.qk_norm ? ", normed" : "") + "\n" + identity_;
    return {xxh64(text.data(), text.size(), 0), xxh64(text.data(), text.size(), 1)};
  }

  const ModelConfig& config_;
  WeightSource& source_;
  std::string identity_;
  Backend& backend_;
  PackedWeights& packed_;
  fs::path folder_;
  LoadProgress progress_;
  WeightsCacheReport& report_;
  std::vector<size_t> sizes_;
  PackedKey key_;
};

}  // namespace

ModelWeights load_cached_weights(const ModelConfig& config, WeightSource& source, Backend& backend,
                                 const std::string& folder, LoadProgress progress,
                                 WeightsCacheReport& report) {
  std::string identity = source.identity();
  if (backend.packed_weights() == nullptr || identity.empty()) {
    report.state = WeightsCacheReport::State::kFailed;
    report.problem = identity.empty() ? "nothing tells these weights from others"
                                      : "this device has no int8 weights to keep";
    return load_weights(config, source, backend, WeightFormat::kInt8, progress);
  }
  WeightsCache cache(config, source, std::move(identity), backend, folder, progress, report);
  ModelWeights weights;
  if (!cache.read(weights)) cache.write(weights);
  return weights;
}

}  // namespace block_attention
