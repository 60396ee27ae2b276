// Weights on the device, and how they get there.
//
// A matrix lies as the files hold it: row-major [out_features][in_features] of bf16 or f16, rows
// one behind the other. Rows are 16-byte aligned, since in_features is a multiple of 8. `embedding`
// looks rows up in the same bytes, so that tied embeddings are held once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device.hpp"
#include "model/backend.hpp"

namespace block_attention::cuda {

class CudaLinearWeight final : public LinearWeight {
 public:
  // `matrix` holds out_features x in_features elements of `dtype`; `bias` is empty or holds
  // out_features floats, `element_bias` the same in `dtype`, where that is exact.
  CudaLinearWeight(DType dtype, int64_t out_features, int64_t in_features, Buffer matrix,
                   Buffer bias, Buffer element_bias);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  WeightFormat format() const override { return WeightFormat::kStored; }
  DType dtype() const { return dtype_; }
  size_t bytes() const override { return matrix_.bytes() + bias_.bytes() + element_bias_.bytes(); }

  // Of the device.
  const void* data() const { return matrix_.data(); }
  // nullptr without a bias.
  const float* bias() const { return static_cast<const float*>(bias_.data()); }
  // In the matrix's type, for libraries that take no other. nullptr also where that would round it.
  const void* element_bias() const { return element_bias_.data(); }

 private:
  DType dtype_;
  int64_t out_features_;
  int64_t in_features_;
  Buffer matrix_;
  Buffer bias_;
  Buffer element_bias_;
};

// float32 on the device (norm weights).
class CudaVector final : public VectorWeight {
 public:
  CudaVector(int64_t size, Buffer values) : size_(size), values_(std::move(values)) {}

  int64_t size() const override { return size_; }
  const float* data() const { return static_cast<const float*>(values_.data()); }

 private:
  int64_t size_;
  Buffer values_;
};

// Two halves of pinned host memory through which weights go to the device: while one is on its way,
// the next rows are read into the other. For one thread; free it when the model is loaded.
class PinnedStaging {
 public:
  static constexpr size_t kHalfBytes = size_t{8} << 20;

  explicit PinnedStaging(Device& device, size_t half_bytes = kHalfBytes);
  // Waits for what is on its way, since the memory must outlive it.
  ~PinnedStaging();
  PinnedStaging(const PinnedStaging&) = delete;
  PinnedStaging& operator=(const PinnedStaging&) = delete;

  // Bytes of one half.
  size_t capacity() const { return half_bytes_; }
  // Makes the halves hold at least `bytes`. Waits.
  void reserve(size_t bytes);
  // The half that is free to be written.
  void* half() const;
  // Puts the first `bytes` of half() on the way to device memory and turns to the other half, for
  // which it waits.
  void send(void* to, size_t bytes);
  // Waits until everything sent has arrived.
  void finish();

  // Host memory of at least `bytes`, for elements that are converted on their way into half().
  void* scratch(size_t bytes);

 private:
  Device& device_;
  size_t half_bytes_;
  Buffer memory_;
  int turn_ = 0;
  std::vector<char> scratch_;
};

// Stacks `parts` along the output features into one matrix of `element` (bf16 or f16). Rows are
// read in pieces, once, so that the parts may lie in files and no matrix is whole in host memory;
// where the stored type is another one, elements are converted on the host, to nearest even. Random
// matrices of `element` are made on the device. Waits.
// Throws what reading throws; Error(kInvalidArgument) if parts differ in dtype or in_features or
// the bias has another length, Error(kUnsupported) if in_features is no multiple of 8,
// Error(kOutOfMemory).
std::unique_ptr<CudaLinearWeight> upload_linear(Device& device, PinnedStaging& staging,
                                                std::span<const HostMatrix> parts,
                                                std::span<const float> bias, DType element);

// Waits. Throws Error(kOutOfMemory).
std::unique_ptr<CudaVector> upload_vector(Device& device, PinnedStaging& staging,
                                          std::span<const float> values);

}  // namespace block_attention::cuda
