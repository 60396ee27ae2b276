#include "cuda/rms_norm.hpp"

#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/tensor_check.hpp"
#include "cuda/vector.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// One block per row. Thread t sums vectors t, t + kThreads, ... of the row; lanes are then added in
// a butterfly and warps in their order. `delta` is null for plain rms_norm.
template <typename E, bool kAdd>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(float* x, int64_t x_stride, const E* delta, int64_t delta_stride,
                    const float* weight, float eps, int32_t cols, E* out, int64_t out_stride) {
  const int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  float* x_row = x + row * x_stride;
  float squares = 0;
  for (int col = thread * kVector; col < cols; col += kThreads * kVector) {
    float values[kVector];
    load_vector(x_row + col, values);
    if constexpr (kAdd) {
      float added[kVector];
      load_vector(delta + row * delta_stride + col, added);
#pragma unroll
      for (int i = 0; i < kVector; ++i) values[i] += added[i];
      store_vector(x_row + col, values);
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) squares = fmaf(values[i], values[i], squares);
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) squares += shfl_xor(squares, mask);
  const uint32_t shared = shared_base();
  if (thread % 32 == 0) sts(shared + static_cast<uint32_t>(thread / 32) * 4, squares);
  syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) sum += lds<float>(shared + warp * 4);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(cols) + eps);
  // Each thread reads what itself has read or written before.
  for (int col = thread * kVector; col < cols; col += kThreads * kVector) {
    float values[kVector];
    float scales[kVector];
    load_vector(x_row + col, values);
    load_vector(weight + col, scales);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[i] = values[i] * factor * scales[i];
    store_vector(out + row * out_stride + col, values);
  }
}

void check_norm(const char* op, const Tensor& x, const CudaVector& weight, const Tensor& out) {
  if (x.dtype != DType::kF32 || !is_half(out.dtype) || x.rows != out.rows || x.cols != out.cols ||
      weight.size() != x.cols || x.cols < 1 || x.cols % kVector != 0 || !rows_apart(x) ||
      !rows_apart(out) || !rows_aligned(x) || !rows_aligned(out)) {
    refuse(op, describe(x) + " to " + describe(out) + " with " + std::to_string(weight.size()) +
                   " weights; it takes f32 to bf16 or f16, 16-byte aligned rows and a multiple "
                   "of 8 columns");
  }
}

template <typename E, bool kAdd>
void launch_norm(Device& device, const Tensor& x, const Tensor& delta, const CudaVector& weight,
                 float eps, const Tensor& out) {
  launch<rms_norm_kernel<E, kAdd>>(
      device,
      {.grid = {static_cast<uint32_t>(x.rows)}, .threads = kThreads, .shared_bytes = kWarps * 4},
      x.f32(), x.stride, static_cast<const E*>(delta.data), delta.stride, weight.data(), eps,
      static_cast<int32_t>(x.cols), static_cast<E*>(out.data), out.stride);
}

}  // namespace

void rms_norm(Device& device, const Tensor& x, const CudaVector& weight, float eps,
              const Tensor& out) {
  check_norm("rms_norm", x, weight, out);
  if (out.dtype == DType::kBF16) {
    launch_norm<Bf16, false>(device, x, {}, weight, eps, out);
  } else {
    launch_norm<F16, false>(device, x, {}, weight, eps, out);
  }
}

void add_rms_norm(Device& device, const Tensor& residual, const Tensor& delta,
                  const CudaVector& weight, float eps, const Tensor& out) {
  check_norm("add_rms_norm", residual, weight, out);
  if (delta.dtype != out.dtype || delta.rows != residual.rows || delta.cols != residual.cols ||
      !rows_apart(delta) || !rows_aligned(delta)) {
    refuse("add_rms_norm", describe(delta) + " cannot be added to " + describe(residual));
  }
  if (out.dtype == DType::kBF16) {
    launch_norm<Bf16, true>(device, residual, delta, weight, eps, out);
  } else {
    launch_norm<F16, true>(device, residual, delta, weight, eps, out);
  }
}

}  // namespace block_attention::cuda
