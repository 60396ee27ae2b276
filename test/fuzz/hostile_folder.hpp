// A small model folder as a hostile one could describe it to the native side: a sound model whose
// table of tensors, config and options are changed in a few places, over a file of any content.
//
// Values are within what the addon passes on (native/addon/convert.cpp): sizes are int32 from 0,
// offsets are below 2^53, numbers are finite. Nothing else of what TypeScript checks is assumed.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.hpp"
#include "engine/engine.hpp"
#include "model/file_weights.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace block_attention::fuzz {

// A file in memory with a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("weights", MFD_CLOEXEC)) {
    if (descriptor_ < 0) std::abort();
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }
  void set(const std::string& content) {
    if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, content.data(), content.size(), 0) !=
                                              static_cast<ssize_t>(content.size())) {
      std::abort();
    }
  }

 private:
  int descriptor_;
};

// Notes every tensor that a model is made of, instead of reading one.
class TensorList final : public WeightSource {
 public:
  TensorList(bool biases, DType dtype) : biases_(biases), dtype_(dtype) {}

  bool has(const std::string& name) const override {
    return biases_ && name.find("self_attn") != std::string::npos;
  }
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override {
    add(name, {rows, cols});
    const auto zeros = [row_bytes = static_cast<size_t>(cols) * dtype_size(dtype_)](
                           int64_t, int64_t count, void* out) {
      std::memset(out, 0, static_cast<size_t>(count) * row_bytes);
    };
    return {zeros, dtype_, rows, cols};
  }
  std::vector<float> vector(const std::string& name, int64_t size) override {
    add(name, {size});
    return std::vector<float>(static_cast<size_t>(size));
  }
  size_t total_bytes() const override { return bytes_; }

  std::vector<TensorLocation> tensors;

 private:
  void add(const std::string& name, std::vector<int64_t> shape) {
    TensorLocation tensor;
    tensor.name = name;
    tensor.dtype = dtype_;
    tensor.offset = bytes_;
    tensor.bytes = dtype_size(dtype_);
    for (int64_t size : shape) tensor.bytes *= static_cast<uint64_t>(size);
    tensor.shape = std::move(shape);
    bytes_ += tensor.bytes;
    tensors.push_back(std::move(tensor));
  }

  bool biases_;
  DType dtype_;
  uint64_t bytes_ = 0;
};

struct HostileFolder {
  ModelConfig config;
  std::vector<TensorLocation> tensors;
  std::string content;  // of the one file
  int files = 1;        // how often it is named
  EngineOptions options;
  int threads = 1;
};

class HostileFolderReader {
 public:
  explicit HostileFolderReader(FuzzedDataProvider& data) : data_(data) {}

  HostileFolder read() {
    sound();
    const int edits = data_.ConsumeIntegralInRange(0, 6);
    for (int i = 0; i < edits; ++i) edit();
    fill();
    return std::move(folder_);
  }

 private:
  void sound() {
    ModelConfig& config = folder_.config;
    const uint32_t flags = data_.ConsumeIntegral<uint8_t>();
    config.tie_word_embeddings = flags & 1;
    config.qk_norm = flags & 2;
    const bool biases = flags & 4;
    const DType dtype = std::array{DType::kF32, DType::kBF16, DType::kF16}[(flags >> 3) % 3];
    config.vocab_size = data_.ConsumeIntegralInRange(1, 70);
    config.hidden_size = data_.ConsumeIntegralInRange(1, 24);
    config.intermediate_size = data_.ConsumeIntegralInRange(1, 24);
    config.num_layers = data_.ConsumeIntegralInRange(1, 2);
    config.num_kv_heads = data_.ConsumeIntegralInRange(1, 2);
    config.num_heads = config.num_kv_heads * data_.ConsumeIntegralInRange(1, 3);
    config.head_dim = 8 * data_.ConsumeIntegralInRange(1, 4);
    config.rms_norm_eps = 1e-5f;
    config.windows.assign(static_cast<size_t>(config.num_layers),
                          data_.ConsumeIntegralInRange(0, 5));
    const int pairs = data_.ConsumeIntegralInRange(1, config.head_dim / 2);
    for (int i = 0; i < pairs; ++i)
      config.inv_freq.push_back(std::pow(10000.0, -i / static_cast<double>(pairs)));
    folder_.options.cache_bytes = 1 << 17;
    folder_.options.max_batch_tokens = 16;
    folder_.options.max_positions = 64;
    config.validate();

    TensorList list(biases, dtype);
    const std::unique_ptr<Backend> backend = make_cpu_backend(1);
    load_weights(config, list, *backend, WeightFormat::kStored, [](size_t, size_t) {});
    folder_.tensors = std::move(list.tensors);
    folder_.content.resize(list.total_bytes());
  }

  // A number where code may go wrong, or any.
  int64_t number(int64_t max) {
    static constexpr std::array<int64_t, 20> kEdges = {0,
                                                       1,
                                                       2,
                                                       3,
                                                       7,
                                                       8,
                                                       9,
                                                       255,
                                                       256,
                                                       1023,
                                                       1024,
                                                       1025,
                                                       1 << 16,
                                                       (1 << 17) + 1,
                                                       1 << 20,
                                                       1 << 24,
                                                       INT32_MAX - 1,
                                                       INT32_MAX,
                                                       int64_t{1} << 32,
                                                       (int64_t{1} << 53) - 1};
    const size_t choice = data_.ConsumeIntegralInRange<size_t>(0, kEdges.size());
    const int64_t value =
        choice < kEdges.size() ? kEdges[choice] : data_.ConsumeIntegralInRange<int64_t>(0, max);
    return value > max ? max : value;
  }
  int32_t size() { return static_cast<int32_t>(number(INT32_MAX)); }
  double finite() {
    static constexpr std::array<double, 8> kEdges = {0, -0.0, 1, -1, 1e308, -1e308, 5e-324, 1e-30};
    const size_t choice = data_.ConsumeIntegralInRange<size_t>(0, kEdges.size());
    if (choice < kEdges.size()) return kEdges[choice];
    const auto value = data_.ConsumeFloatingPoint<double>();
    return std::isfinite(value) ? value : 0;
  }
  template <typename List>
  size_t index(const List& list) {
    return data_.ConsumeIntegralInRange<size_t>(0, list.size() - 1);
  }
  template <typename List, typename Value>
  void change(List& list, Value value) {
    switch (data_.ConsumeIntegralInRange(0, 2)) {
      case 0:
        list.push_back(value);
        break;
      case 1:
        if (!list.empty()) list.pop_back();
        break;
      default:
        if (!list.empty()) list[index(list)] = value;
    }
  }

  void edit() {
    const int kind = data_.ConsumeIntegralInRange(0, 5);
    if (kind == 0) {
      edit_config();
    } else if (kind == 1) {
      edit_options();
    } else if (!folder_.tensors.empty()) {
      edit_tensor();
    }
  }

  void edit_config() {
    ModelConfig& config = folder_.config;
    switch (data_.ConsumeIntegralInRange(0, 12)) {
      case 0:
        config.vocab_size = size();
        break;
      case 1:
        config.hidden_size = size();
        break;
      case 2:
        config.intermediate_size = size();
        break;
      case 3:
        config.num_layers = size();
        break;
      case 4:
        config.num_heads = size();
        break;
      case 5:
        config.num_kv_heads = size();
        break;
      case 6:
        config.head_dim = size();
        break;
      case 7:
        config.rms_norm_eps = static_cast<float>(std::fmin(std::fabs(finite()), 1e6));
        break;
      case 8:
        config.rope_attention_factor = std::fmin(std::fabs(finite()), 1e6);
        break;
      case 9:
        change(config.windows, size());
        break;
      case 10:
        change(config.inv_freq, finite());
        break;
      case 11:
        config.tie_word_embeddings = !config.tie_word_embeddings;
        break;
      default:
        config.qk_norm = !config.qk_norm;
    }
  }

  void edit_options() {
    EngineOptions& options = folder_.options;
    switch (data_.ConsumeIntegralInRange(0, 4)) {
      case 0:
        options.kv_dtype = DType::kF32;
        break;
      case 1:
        // The pool is a list of its pages, so a large one would only be slow.
        options.cache_bytes = static_cast<size_t>(1 + number(1 << 24));
        break;
      case 2:
        options.max_batch_tokens = static_cast<int32_t>(1 + number((1 << 16) - 1));
        break;
      case 3:
        options.max_positions = static_cast<int32_t>(1 + number(INT32_MAX - 1));
        break;
      default:
        folder_.threads = data_.ConsumeIntegralInRange(2, 3);
    }
  }

  void edit_tensor() {
    std::vector<TensorLocation>& tensors = folder_.tensors;
    TensorLocation& tensor = tensors[index(tensors)];
    switch (data_.ConsumeIntegralInRange(0, 9)) {
      case 0:
        tensor.offset = static_cast<uint64_t>(number((int64_t{1} << 53) - 1));
        break;
      case 1:
        tensor.bytes = static_cast<uint64_t>(number((int64_t{1} << 53) - 1));
        break;
      case 2:
        change(tensor.shape, size());
        break;
      case 3:
        tensor.dtype = data_.PickValueInArray({DType::kF32, DType::kBF16, DType::kF16});
        break;
      case 4:
        // Its size follows: only the place in the file, or another tensor's type, can be wrong.
        tensor.dtype = data_.PickValueInArray({DType::kF32, DType::kBF16, DType::kF16});
        tensor.bytes = dtype_size(tensor.dtype);
        for (int64_t extent : tensor.shape) tensor.bytes *= static_cast<uint64_t>(extent);
        break;
      case 5:
        tensor.file = static_cast<size_t>(number(INT32_MAX));
        folder_.files = data_.ConsumeIntegralInRange(0, 2);
        break;
      case 6:
        tensors.erase(tensors.begin() + (&tensor - tensors.data()));
        break;
      case 7: {
        const TensorLocation copy = tensor;
        tensors.push_back(copy);
        break;
      }
      case 8:
        tensor.name = tensors[index(tensors)].name;
        break;
      default:
        folder_.content.resize(
            data_.ConsumeIntegralInRange<size_t>(0, folder_.content.size() + 64));
    }
  }

  // The rest of the input, over and over.
  void fill() {
    const std::string rest = data_.ConsumeRemainingBytesAsString();
    if (rest.empty()) return;
    for (size_t i = 0; i < folder_.content.size(); ++i) folder_.content[i] = rest[i % rest.size()];
  }

  FuzzedDataProvider& data_;
  HostileFolder folder_;
};

}  // namespace block_attention::fuzz
