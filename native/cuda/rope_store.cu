#include "cuda/rope_store.hpp"

#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/linear_weight.hpp"
#include "cuda/tensor_check.hpp"
#include "cuda/vector.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;

template <typename E>
struct RopeStoreArguments {
  E* qkv;
  int64_t stride;
  const RowPlace* places;
  const float* angles;
  RopeStoreShape shape;
  const float* q_norm;  // or null
  const float* k_norm;
  float eps;
  int32_t layer;
  KvView kv;
};

// A head as RMSNorm leaves it: dim by dim, from memory. Lanes sum dims lane, lane + 32, ..., and
// are added in a butterfly.
template <typename E>
struct NormedHead {
  const E* head;
  const float* weight;  // null: as it is
  float factor;

  DEVICE_FN static NormedHead make(const E* head, const float* weight, float eps, int head_dim,
                                   int lane) {
    NormedHead normed = {head, weight, 1.0f};
    if (weight == nullptr) return normed;
    float squares = 0;
    for (int dim = lane; dim < head_dim; dim += 32) {
      const float value = widen(ldg(head + dim));
      squares = fmaf(value, value, squares);
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) squares += shfl_xor(squares, mask);
    normed.factor = 1.0f / sqrtf(squares / static_cast<float>(head_dim) + eps);
    return normed;
  }

  DEVICE_FN float at(int dim) const {
    const float value = widen(ldg(head + dim));
    return weight == nullptr ? value : value * factor * ldg(weight + dim);
  }
};

// One block per row, one warp per head at a time.
template <typename E>
__global__ void __launch_bounds__(kThreads) rope_store_kernel(RopeStoreArguments<E> arguments) {
  const RopeStoreShape& shape = arguments.shape;
  const int64_t row = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  E* heads = arguments.qkv + row * arguments.stride;
  const E* keys = heads + shape.heads * shape.head_dim;
  const E* values = keys + shape.kv_heads * shape.head_dim;
  if (arguments.q_norm != nullptr) {
    for (int head = warp; head < shape.heads; head += kWarps) {
      E* q = heads + head * shape.head_dim;
      const auto normed =
          NormedHead<E>::make(q, arguments.q_norm, arguments.eps, shape.head_dim, lane);
      for (int dim = lane; dim < shape.head_dim; dim += 32) stg(q + dim, narrow<E>(normed.at(dim)));
    }
  }
  const RowPlace place = ldg(arguments.places + row);
  const float* cos = arguments.angles + int64_t{place.position} * 2 * shape.half;
  const float* sin = cos + shape.half;
  const int slot = place.position % kPageTokens * shape.head_dim;
  for (int head = warp; head < shape.kv_heads; head += kWarps) {
    const auto k = NormedHead<E>::make(keys + head * shape.head_dim, arguments.k_norm,
                                       arguments.eps, shape.head_dim, lane);
    E* to_k = reinterpret_cast<E*>(arguments.kv.k(place.page, arguments.layer, head)) + slot;
    E* to_v = reinterpret_cast<E*>(arguments.kv.v(place.page, arguments.layer, head)) + slot;
    for (int dim = lane; dim < shape.half; dim += 32) {
      const float x1 = k.at(dim);
      const float x2 = k.at(shape.half + dim);
      stg(to_k + dim, narrow<E>(fmaf(-x2, ldg(sin + dim), x1 * ldg(cos + dim))));
      stg(to_k + shape.half + dim, narrow<E>(fmaf(x1, ldg(sin + dim), x2 * ldg(cos + dim))));
    }
    for (int dim = 2 * shape.half + lane; dim < shape.head_dim; dim += 32) {
      stg(to_k + dim, narrow<E>(k.at(dim)));
    }
    for (int dim = lane * kVector; dim < shape.head_dim; dim += 32 * kVector) {
      stg(reinterpret_cast<U32x4*>(to_v + dim),
          ldg(reinterpret_cast<const U32x4*>(values + head * shape.head_dim + dim)));
    }
  }
}

const float* weights_of(const VectorWeight* weight, int32_t head_dim) {
  if (weight == nullptr) return nullptr;
  if (weight->size() != head_dim) refuse("rope_store", "a norm's weights do not fit a head");
  return static_cast<const CudaVector*>(weight)->data();
}

template <typename E>
void launch_rope_store(Device& device, const Tensor& qkv, const RowPlace* places,
                       const float* angles, const RopeStoreShape& shape, const QkNorm& norm,
                       int32_t layer, const CudaKvStorage& kv) {
  RopeStoreArguments<E> arguments{};
  arguments.qkv = static_cast<E*>(qkv.data);
  arguments.stride = qkv.stride;
  arguments.places = places;
  arguments.angles = angles;
  arguments.shape = shape;
  arguments.q_norm = weights_of(norm.q, shape.head_dim);
  arguments.k_norm = weights_of(norm.k, shape.head_dim);
  arguments.eps = norm.eps;
  arguments.layer = layer;
  arguments.kv = kv.view();
  launch<rope_store_kernel<E>>(
      device, {.grid = {static_cast<uint32_t>(qkv.rows)}, .threads = kThreads}, arguments);
}

}  // namespace

void rope_store(Device& device, const Tensor& qkv, const RowPlace* places, const float* angles,
                const RopeStoreShape& shape, const QkNorm& norm, int32_t layer,
                const CudaKvStorage& kv) {
  const KvShape& pages = kv.shape();
  if (!is_half(qkv.dtype) || qkv.dtype != pages.dtype ||
      qkv.cols != int64_t{shape.heads + 2 * shape.kv_heads} * shape.head_dim || !rows_apart(qkv) ||
      !rows_aligned(qkv) || pages.num_kv_heads != shape.kv_heads ||
      pages.head_dim != shape.head_dim || layer < 0 || layer >= pages.num_layers) {
    refuse("rope_store", describe(qkv) + " does not fit pages of " + dtype_name(pages.dtype));
  }
  if (qkv.dtype == DType::kBF16) {
    launch_rope_store<Bf16>(device, qkv, places, angles, shape, norm, layer, kv);
  } else {
    launch_rope_store<F16>(device, qkv, places, angles, shape, norm, layer, kv);
  }
}

}  // namespace block_attention::cuda
