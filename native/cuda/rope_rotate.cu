#include "cuda/rope_rotate.hpp"

#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"
#include "cuda/tensor_check.hpp"

namespace block_attention::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;

struct RopeRotateArguments {
  KvView kv;
  const PageId* pages;
  const float* angles;
  float* out_k;
  float* out_v;
  int64_t k_stride;
  int64_t v_stride;
  int32_t layer;
  int32_t kv_heads;
  int32_t half;
};

// One block per token, one warp per head at a time.
template <typename E>
__global__ void __launch_bounds__(kThreads) rope_rotate_kernel(RopeRotateArguments arguments) {
  const auto token = static_cast<int>(blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int head_dim = arguments.kv.head_dim;
  const int half = arguments.half;
  const PageId page = ldg(arguments.pages + token / kPageTokens);
  const int slot = token % kPageTokens * head_dim;
  for (int head = static_cast<int>(threadIdx.x) / 32; head < arguments.kv_heads; head += kWarps) {
    const E* k = reinterpret_cast<const E*>(arguments.kv.k(page, arguments.layer, head)) + slot;
    const E* v = reinterpret_cast<const E*>(arguments.kv.v(page, arguments.layer, head)) + slot;
    float* to_k = arguments.out_k + token * arguments.k_stride + head * head_dim;
    float* to_v = arguments.out_v + token * arguments.v_stride + head * head_dim;
    for (int dim = lane; dim < half; dim += 32) {
      const float x1 = widen(ldg(k + dim));
      const float x2 = widen(ldg(k + half + dim));
      const float cos = ldg(arguments.angles + dim);
      const float sin = ldg(arguments.angles + half + dim);
      stg(to_k + dim, fmaf(-x2, sin, x1 * cos));
      stg(to_k + half + dim, fmaf(x1, sin, x2 * cos));
    }
    for (int dim = 2 * half + lane; dim < head_dim; dim += 32) stg(to_k + dim, widen(ldg(k + dim)));
    for (int dim = lane; dim < head_dim; dim += 32) stg(to_v + dim, widen(ldg(v + dim)));
  }
}

}  // namespace

void rope_rotate(Device& device, const CudaKvStorage& kv, const PageId* pages, int32_t layer,
                 const float* angles, int32_t half, const Tensor& out_k, const Tensor& out_v) {
  const KvShape& shape = kv.shape();
  const int64_t cols = int64_t{shape.num_kv_heads} * shape.head_dim;
  if (out_k.dtype != DType::kF32 || out_v.dtype != DType::kF32 || out_k.rows != out_v.rows ||
      out_k.cols != cols || out_v.cols != cols || !rows_apart(out_k) || !rows_apart(out_v) ||
      layer < 0 || layer >= shape.num_layers) {
    refuse("rope_rotate", describe(out_k) + " and " + describe(out_v) + " do not fit the pages");
  }
  RopeRotateArguments arguments{};
  arguments.kv = kv.view();
  arguments.pages = pages;
  arguments.angles = angles;
  arguments.out_k = out_k.f32();
  arguments.out_v = out_v.f32();
  arguments.k_stride = out_k.stride;
  arguments.v_stride = out_v.stride;
  arguments.layer = layer;
  arguments.kv_heads = shape.num_kv_heads;
  arguments.half = half;
  const LaunchShape launch_shape = {.grid = {static_cast<uint32_t>(out_k.rows)},
                                    .threads = kThreads};
  if (shape.dtype == DType::kBF16) {
    launch<rope_rotate_kernel<Bf16>>(device, launch_shape, arguments);
  } else {
    launch<rope_rotate_kernel<F16>>(device, launch_shape, arguments);
  }
}

}  // namespace block_attention::cuda
