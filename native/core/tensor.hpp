// Plain views and owned memory. A view never owns; the backend that allocated the memory decides
// where it lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
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
  // In a layout that only the backend's `linear` reads, in the memory of rows that are dense.
  bool packed = false;

  float* f32() const { return static_cast<float*>(data); }
  Tensor columns(int64_t begin, int64_t count) const {
    return {static_cast<char*>(data) + static_cast<size_t>(begin) * dtype_size(dtype), dtype, rows,
            count, stride};
  }
  Tensor row_range(int64_t begin, int64_t count) const {
    return {static_cast<char*>(data) + static_cast<size_t>(begin * stride) * dtype_size(dtype),
            dtype,
            count,
            cols,
            stride,
            packed};
  }
};

// Row-major element i is random_normal(seed, i) * scale, rounded to the element type
// (core/random.hpp).
struct RandomValues {
  uint64_t seed = 0;
  float scale = 0;
};

// A matrix that a backend takes over: rows (output features) x cols (input features), row-major and
// dense. It lies in host memory or in a file; the backend reads rows in pieces as it packs them, so
// that a model is never in memory twice.
class HostMatrix {
 public:
  // Copies rows first .. first + count - 1 to `out`. Called from several threads at once; may throw
  // Error.
  using Read = std::function<void(int64_t first, int64_t count, void* out)>;

  HostMatrix(Read read_rows, DType element, int64_t row_count, int64_t col_count)
      : read(std::move(read_rows)), dtype(element), rows(row_count), cols(col_count) {}
  // Over memory that outlives this object.
  HostMatrix(const void* data, DType element, int64_t row_count, int64_t col_count)
      : dtype(element), rows(row_count), cols(col_count) {
    const size_t row_bytes = static_cast<size_t>(col_count) * dtype_size(element);
    read = [data, row_bytes](int64_t first, int64_t count, void* out) {
      std::memcpy(out, static_cast<const char*>(data) + static_cast<size_t>(first) * row_bytes,
                  static_cast<size_t>(count) * row_bytes);
    };
  }

  Read read;
  DType dtype;
  int64_t rows;
  int64_t cols;
  // Where the values are these, a device can make them itself instead of reading them.
  std::optional<RandomValues> random = std::nullopt;
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
