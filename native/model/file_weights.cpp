#include "model/file_weights.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/xxh64.hpp"

namespace block_attention {
namespace {

// Of the data of a tensor one piece in so many bytes is looked at, and at least one.
constexpr uint64_t kSampleBytes = 4096;
constexpr uint64_t kSampleEvery = uint64_t{16} << 20;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

void check_location(const TensorLocation& tensor, const std::vector<WeightFile>& files) {
  if (tensor.file >= files.size()) {
    throw Error(ErrorCode::kModelFormat,
                "tensor " + tensor.name + " lies in a file that was not given");
  }
  // Sizes stay below 2^31 each, and no supported tensor has more than two, so the product fits 64
  // bits.
  uint64_t bytes = dtype_size(tensor.dtype);
  if (tensor.shape.size() > 2) {
    throw Error(ErrorCode::kModelFormat, "tensor " + tensor.name + " has more than two dimensions");
  }
  for (int64_t size : tensor.shape) bytes *= static_cast<uint64_t>(size);
  const uint64_t file_bytes = files[tensor.file].size();
  if (bytes != tensor.bytes || tensor.offset > file_bytes ||
      tensor.bytes > file_bytes - tensor.offset) {
    throw Error(ErrorCode::kModelFormat, "tensor " + tensor.name + " of shape " +
                                             shape_text(tensor.shape) +
                                             " does not fit its range in the file");
  }
}

}  // namespace

FileWeights::FileWeights(const std::vector<std::string>& files,
                         const std::vector<TensorLocation>& tensors) {
  for (const std::string& path : files) files_.emplace_back(path);
  for (const TensorLocation& tensor : tensors) {
    check_location(tensor, files_);
    if (!tensors_.emplace(tensor.name, tensor).second) {
      throw Error(ErrorCode::kModelFormat, "tensor " + tensor.name + " is given twice");
    }
    total_bytes_ += tensor.bytes;
  }
}

const TensorLocation& FileWeights::find(const std::string& name,
                                        const std::vector<int64_t>& shape) const {
  const auto place = tensors_.find(name);
  if (place == tensors_.end())
    throw Error(ErrorCode::kModelFormat, "tensor " + name + " is missing");
  if (place->second.shape != shape) {
    throw Error(ErrorCode::kModelFormat, "tensor " + name + " has shape " +
                                             shape_text(place->second.shape) +
                                             ", the config asks for " + shape_text(shape));
  }
  return place->second;
}

HostMatrix FileWeights::matrix(const std::string& name, int64_t rows, int64_t cols) {
  const TensorLocation& tensor = find(name, {rows, cols});
  const WeightFile& file = files_[tensor.file];
  const uint64_t row_bytes = static_cast<uint64_t>(cols) * dtype_size(tensor.dtype);
  const auto read = [&file, offset = tensor.offset, row_bytes](int64_t first, int64_t count,
                                                               void* out) {
    file.read(offset + static_cast<uint64_t>(first) * row_bytes, out,
              static_cast<uint64_t>(count) * row_bytes);
  };
  return {read, tensor.dtype, rows, cols};
}

std::vector<float> FileWeights::vector(const std::string& name, int64_t size) {
  const TensorLocation& tensor = find(name, {size});
  std::vector<char> bytes(tensor.bytes);
  files_[tensor.file].read(tensor.offset, bytes.data(), tensor.bytes);
  std::vector<float> values(static_cast<size_t>(size));
  for (size_t i = 0; i < values.size(); ++i) values[i] = load_as_f32(bytes.data(), tensor.dtype, i);
  return values;
}

std::string FileWeights::identity() const {
  std::vector<const TensorLocation*> tensors;
  for (const auto& [name, tensor] : tensors_) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto* a, const auto* b) { return a->name < b->name; });
  std::string text;
  for (const WeightFile& file : files_)
    text += std::to_string(file.size()) + " " + std::to_string(file.modified_ns()) + "\n";
  for (const TensorLocation* tensor : tensors) {
    text += tensor->name + " " + dtype_name(tensor->dtype) + " " + shape_text(tensor->shape) + " " +
            std::to_string(tensor->file) + " " + std::to_string(tensor->offset) + " " +
            std::to_string(sample(*tensor)) + "\n";
  }
  return text;
}

uint64_t FileWeights::sample(const TensorLocation& tensor) const {
  const uint64_t bytes = std::min(kSampleBytes, tensor.bytes);
  const uint64_t pieces = tensor.bytes / kSampleEvery + 1;
  char piece[kSampleBytes];
  uint64_t hash = 0;
  // In the middle of each part: an embedding's first rows are often unused.
  for (uint64_t i = 0; i < pieces; ++i) {
    const uint64_t middle = tensor.bytes / pieces * i + tensor.bytes / pieces / 2;
    const uint64_t begin = std::min(middle - std::min(middle, bytes / 2), tensor.bytes - bytes);
    files_[tensor.file].read(tensor.offset + begin, piece, bytes);
    hash = xxh64(piece, bytes, hash);
  }
  return hash;
}

}  // namespace block_attention
