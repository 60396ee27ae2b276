// Plain views and owned memory. A view never owns; the backend that allocated the memory decides where it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/dtype.hpp"

namespace block_attention {

// Activations: rows x cols, row i at data + i * stride elements. float32 on the CPU.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements

  float* f32() const { return static_cast<float*>(data); }
  Tensor columns(int64_t begin, int64_t count) const {
    return {static_cast<char*>(data) + static_cast<size_t>(begin) * dtype_size(dtype), dtype, rows, count, stride};
  }
  Tensor row_range(int64_t begin, int64_t count) const {
    return {static_cast<char*>(data) + static_cast<size_t>(begin * stride) * dtype_size(dtype), dtype, count, cols, stride};
  }
};

// A matrix in host memory as a model file holds it: rows (output features) x cols (input features), row-major, dense.
struct HostMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

// Memory that a backend handed out; given back when this object dies.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*, size_t)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) release_(data_, bytes_);
  }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }

  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*, size_t)> release_;
};

}  // namespace block_attention
