// Weights out of safetensors files, by the table of tensors that TypeScript read from their
// headers.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "core/weight_file.hpp"
#include "model/weights.hpp"

namespace block_attention {

struct TensorLocation {
  std::string name;
  size_t file = 0;  // index into the files
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // from the start of the file, bytes
  uint64_t bytes = 0;
};

class FileWeights : public WeightSource {
 public:
  // Opens the files and checks every tensor's range against its shape and its file.
  FileWeights(const std::vector<std::string>& files, const std::vector<TensorLocation>& tensors);

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override;
  std::vector<float> vector(const std::string& name, int64_t size) override;
  size_t total_bytes() const override { return total_bytes_; }
  std::string identity() const override;

 private:
  // A hash of pieces of its data, evenly spread.
  uint64_t sample(const TensorLocation& tensor) const;
  const TensorLocation& find(const std::string& name, const std::vector<int64_t>& shape) const;

  std::vector<WeightFile> files_;
  std::unordered_map<std::string, TensorLocation> tensors_;
  size_t total_bytes_ = 0;
};

}  // namespace block_attention
