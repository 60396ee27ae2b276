// out = x * weight^T + bias on a GPU: bf16 or f16 operands, float32 sums.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/tensor.hpp"
#include "cuda/cublaslt.hpp"
#include "cuda/device.hpp"
#include "cuda/linear_weight.hpp"

namespace block_attention::cuda {

class CudaLinear {
 public:
  // `deterministic`: the bits of a row depend on that row alone, in any batch. Otherwise products
  // go through cuBLASLt where it is installed, which picks kernels, and with them bits, by the
  // number of rows.
  CudaLinear(Device& device, bool deterministic);

  // x [rows, in_features] of the weight's type, 16-byte aligned, stride a multiple of 8; out
  // [rows, out_features] of that type or float32. Rows may be further apart than their columns;
  // x and out must not overlap. Throws Error(kInvalidArgument) if they do not fit.
  void run(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out);

  // "own GEMM (mma.sync)" or e.g. "cuBLASLt 13.0".
  std::string description() const;
  // Why cuBLASLt is not used although it might be; empty if there is nothing to say.
  const std::string& problem() const { return problem_; }

 private:
  Device& device_;
  std::unique_ptr<CublasLt> cublaslt_;
  std::string problem_;
};

// Which elements a block of linear_mma() computes side by side. The bits do not depend on it.
enum class LinearTiles : uint8_t { kFewRows, kSomeRows, kManyRows };

// What linear_mma() takes by itself.
LinearTiles linear_tiles(int64_t rows, int64_t out_features, int multiprocessors);

// The two kernels of our own; shapes and errors as in CudaLinear::run.
//
// Tiles on the tensor cores (linear_mma.cuh). Every output element is one chain of m16n8k16
// products over K in ascending order, whatever the number of rows.
void linear_mma(Device& device, const Tensor& x, const CudaLinearWeight& weight, const Tensor& out,
                std::optional<LinearTiles> tiles = std::nullopt);
// One thread per output element, fmaf over K in ascending order: what tests and benchmarks compare
// with.
void linear_plain(Device& device, const Tensor& x, const CudaLinearWeight& weight,
                  const Tensor& out);

// Throws Error(kInvalidArgument) unless x, weight and out fit as CudaLinear::run says.
void check_linear(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out);

}  // namespace block_attention::cuda
