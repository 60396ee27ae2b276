#include "cuda/swiglu.hpp"

#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/tensor_check.hpp"
#include "cuda/vector.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 256;

// Grid: (rows, kThreads vectors each).
template <typename E>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(const E* gate_up, int64_t in_stride, int32_t cols, E* out, int64_t out_stride) {
  const int64_t row = blockIdx.x;
  const int col = static_cast<int>(blockIdx.y * kThreads + threadIdx.x) * kVector;
  if (col >= cols) return;
  float gate[kVector];
  float up[kVector];
  load_vector(gate_up + row * in_stride + col, gate);
  load_vector(gate_up + row * in_stride + cols + col, up);
#pragma unroll
  for (int i = 0; i < kVector; ++i) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
  store_vector(out + row * out_stride + col, gate);
}

template <typename E>
void launch_swiglu(Device& device, const Tensor& gate_up, const Tensor& out) {
  const int64_t columns = int64_t{kThreads} * kVector;
  const auto blocks = static_cast<uint32_t>((out.cols + columns - 1) / columns);
  launch<swiglu_kernel<E>>(device,
                           {.grid = {static_cast<uint32_t>(out.rows), blocks}, .threads = kThreads},
                           static_cast<const E*>(gate_up.data), gate_up.stride,
                           static_cast<int32_t>(out.cols), static_cast<E*>(out.data), out.stride);
}

}  // namespace

void swiglu(Device& device, const Tensor& gate_up, const Tensor& out) {
  if (!is_half(out.dtype) || gate_up.dtype != out.dtype || gate_up.rows != out.rows ||
      gate_up.cols != 2 * out.cols || out.cols % kVector != 0 || !rows_apart(gate_up) ||
      !rows_apart(out) || !rows_aligned(gate_up) || !rows_aligned(out)) {
    refuse("swiglu", describe(gate_up) + " to " + describe(out) +
                         "; it takes 16-byte aligned rows of bf16 or f16 and a multiple of 8 "
                         "columns");
  }
  if (out.dtype == DType::kBF16) {
    launch_swiglu<Bf16>(device, gate_up, out);
  } else {
    launch_swiglu<F16>(device, gate_up, out);
  }
}

}  // namespace block_attention::cuda
