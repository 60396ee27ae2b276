#include "cuda/embedding.hpp"

#include <string>

#include "cuda/launch.cuh"
#include "cuda/tensor_check.hpp"
#include "cuda/vector.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 256;

// Grid: (tokens, kThreads vectors each).
template <typename E>
__global__ void __launch_bounds__(kThreads)
    embedding_kernel(const E* table, int32_t cols, const int32_t* tokens, float* out,
                     int64_t out_stride) {
  const int64_t row = blockIdx.x;
  const int col = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kVector;
  if (col >= cols) return;
  float values[kVector];
  load_vector(table + int64_t{ldg(tokens + row)} * cols + col, values);
  store_vector(out + row * out_stride + col, values);
}

template <typename E>
void launch_embedding(Device& device, const CudaLinearWeight& table, const int32_t* tokens,
                      const Tensor& out) {
  const int64_t columns = int64_t{kThreads} * kVector;
  const auto blocks = static_cast<uint32_t>((out.cols + columns - 1) / columns);
  launch<embedding_kernel<E>>(
      device, {.grid = {static_cast<uint32_t>(out.rows), blocks}, .threads = kThreads},
      static_cast<const E*>(table.data()), static_cast<int32_t>(out.cols), tokens, out.f32(),
      out.stride);
}

}  // namespace

void check_tokens(const CudaLinearWeight& table, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    if (token < 0 || token >= table.out_features()) {
      throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(token) +
                                                   " is outside the vocabulary of " +
                                                   std::to_string(table.out_features()));
    }
  }
}

void embedding(Device& device, const CudaLinearWeight& table, const int32_t* tokens,
               const Tensor& out) {
  if (out.dtype != DType::kF32 || out.cols != table.in_features() || !rows_apart(out) ||
      !rows_aligned(out)) {
    refuse("embedding", describe(out) + " for a table of " + std::to_string(table.in_features()) +
                            " features; it gives f32 in 16-byte aligned rows");
  }
  if (table.dtype() == DType::kBF16) {
    launch_embedding<Bf16>(device, table, tokens, out);
  } else {
    launch_embedding<F16>(device, table, tokens, out);
  }
}

}  // namespace block_attention::cuda
