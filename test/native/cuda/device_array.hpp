// Arrays and matrices on the device, written from and read back to host memory.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "core/dtype.hpp"
#include "core/tensor.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda::test {

// Wait until done.
inline void write_device(Device& device, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const Buffer pinned = device.allocate_pinned(bytes);
  std::memcpy(pinned.data(), from, bytes);
  device.upload(to, pinned.data(), bytes);
  device.synchronize();
}

inline void read_device(Device& device, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return device.synchronize();
  const Buffer pinned = device.allocate_pinned(bytes);
  device.download(pinned.data(), from, bytes);
  device.synchronize();
  std::memcpy(to, pinned.data(), bytes);
}

template <typename T>
class DeviceArray {
 public:
  // Of bytes 0xff: NaN in every type of float.
  DeviceArray(Device& device, size_t count)
      : DeviceArray(device, count, std::vector<unsigned char>(count * sizeof(T), 0xff).data()) {}
  DeviceArray(Device& device, const std::vector<T>& values)
      : DeviceArray(device, values.size(), values.data()) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  size_t size() const { return memory_.bytes() / sizeof(T); }

  // Waits for all that was launched.
  std::vector<T> read() const {
    std::vector<T> values(size());
    read_device(device_, values.data(), memory_.data(), memory_.bytes());
    return values;
  }

 private:
  DeviceArray(Device& device, size_t count, const void* bytes)
      : device_(device), memory_(device.allocate(count * sizeof(T))) {
    write_device(device_, memory_.data(), bytes, memory_.bytes());
  }

  Device& device_;
  Buffer memory_;
};

// rows x cols of one of the three types, `stride` elements apart. What is not written, between the
// rows too, is NaN.
class DeviceTensor {
 public:
  DeviceTensor(Device& device, DType dtype, int64_t rows, int64_t cols, int64_t stride)
      : DeviceTensor(device, dtype, rows, cols, stride, {}) {}
  // Rounds `values` (rows x cols, dense) to nearest even.
  DeviceTensor(Device& device, DType dtype, int64_t rows, int64_t cols, int64_t stride,
               const std::vector<float>& values)
      : rows_(rows),
        cols_(cols),
        stride_(stride),
        dtype_(dtype),
        bytes_(device, to_bytes(values)) {}

  Tensor view() const { return {bytes_.data(), dtype_, rows_, cols_, stride_}; }

  // Dense, as float. Waits for all that was launched; says so if anything lies between the rows.
  std::vector<float> read() const {
    const std::vector<unsigned char> bytes = bytes_.read();
    std::vector<float> values;
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t col = 0; col < stride_; ++col) {
        const auto at = static_cast<size_t>(row * stride_ + col);
        const float value = load_as_f32(bytes.data(), dtype_, at);
        if (col < cols_) {
          values.push_back(value);
        } else {
          EXPECT_TRUE(std::isnan(value)) << "written behind row " << row << ", column " << col;
        }
      }
    }
    return values;
  }

 private:
  std::vector<unsigned char> to_bytes(const std::vector<float>& values) const {
    std::vector<unsigned char> bytes(static_cast<size_t>(rows_ * stride_) * dtype_size(dtype_),
                                     0xff);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto row = static_cast<int64_t>(i) / cols_;
      const auto col = static_cast<int64_t>(i) % cols_;
      const float value = values[i];
      const uint16_t half = dtype_ == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
      const void* from = dtype_ == DType::kF32 ? static_cast<const void*>(&value) : &half;
      std::memcpy(bytes.data() + static_cast<size_t>(row * stride_ + col) * dtype_size(dtype_),
                  from, dtype_size(dtype_));
    }
    return bytes;
  }

  int64_t rows_;
  int64_t cols_;
  int64_t stride_;
  DType dtype_;
  DeviceArray<unsigned char> bytes_;
};

}  // namespace block_attention::cuda::test
