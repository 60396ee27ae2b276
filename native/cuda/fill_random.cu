#include "cuda/fill_random.hpp"

#include "core/random.hpp"
#include "cuda/launch.cuh"
#include "cuda/tensor_check.hpp"
#include "cuda/vector.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 256;

template <typename E>
__global__ void __launch_bounds__(kThreads)
    fill_random_kernel(E* to, int64_t vectors, uint64_t seed, float scale) {
  const int64_t vector = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (vector >= vectors) return;
  float values[kVector];
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    values[i] = random_normal(seed, static_cast<uint64_t>(vector * kVector + i)) * scale;
  }
  store_vector(to + vector * kVector, values);
}

template <typename E>
void launch_fill(Device& device, const RandomValues& values, void* to, int64_t count) {
  const int64_t vectors = count / kVector;
  launch<fill_random_kernel<E>>(
      device,
      {.grid = {static_cast<uint32_t>((vectors + kThreads - 1) / kThreads)}, .threads = kThreads},
      static_cast<E*>(to), vectors, values.seed, values.scale);
}

}  // namespace

void fill_random(Device& device, const RandomValues& values, DType dtype, void* to, int64_t count) {
  if (!is_half(dtype) || count % kVector != 0) {
    refuse("fill_random", std::to_string(count) + " values of " + dtype_name(dtype) +
                              "; it makes bf16 or f16, a multiple of 8");
  }
  if (dtype == DType::kBF16) {
    launch_fill<Bf16>(device, values, to, count);
  } else {
    launch_fill<F16>(device, values, to, count);
  }
}

}  // namespace block_attention::cuda
