#include "cpu/rope_rotate.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rope_rotate.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "core/error.hpp"
#include "cpu/attention_kernels.hpp"
#include "cpu/kv_int8-inl.hpp"
#include "cpu/kv_pairs-inl.hpp"
#include "model/rope_angles.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::CappedTag<float, 16>;

// A dim of the keys from `slot` on.
template <typename T>
HWY_INLINE hn::Vec<F32> load_dim(const T* page, int32_t dim, int32_t slot) {
  return load_part(F32(), page + key_index(kPair<T>, slot, dim / kPair<T> * kPair<T>),
                   dim % kPair<T>);
}

// Keys lie side by side in a page, so 16 of them are rotated at once; then the page is transposed.
template <typename T>
void rotate_keys(const T* page, int32_t slots, const float* rope, int32_t half, int32_t head_dim,
                 float* out, int64_t stride) {
  const F32 d;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d));
  HWY_ALIGN float rotated[kMaxHeadDim * kPanel];
  for (int32_t i = 0; i < half; ++i) {
    const auto cos = hn::Set(d, rope[i]);
    const auto sin = hn::Set(d, rope[half + i]);
    for (int32_t j = 0; j < kPanel; j += lanes) {
      const auto x1 = load_dim(page, i, j);
      const auto x2 = load_dim(page, half + i, j);
      hn::Store(hn::NegMulAdd(x2, sin, hn::Mul(x1, cos)), d, rotated + i * kPanel + j);
      hn::Store(hn::MulAdd(x1, sin, hn::Mul(x2, cos)), d, rotated + (half + i) * kPanel + j);
    }
  }
  for (int32_t i = 2 * half; i < head_dim; ++i) {
    for (int32_t j = 0; j < kPanel; j += lanes)
      hn::Store(load_dim(page, i, j), d, rotated + i * kPanel + j);
  }
  for (int32_t slot = 0; slot < slots; ++slot) {
    for (int32_t i = 0; i < head_dim; ++i) out[slot * stride + i] = rotated[i * kPanel + slot];
  }
}

template <typename T>
void copy_values(const T* page, int32_t slots, int32_t head_dim, float* out, int64_t stride) {
  const hn::CappedTag<float, 8> d;
  const int32_t lanes = static_cast<int32_t>(hn::Lanes(d));
  for (int32_t slot = 0; slot < slots; ++slot) {
    const T* from = page + slot / kPair<T> * kPair<T> * head_dim;
    for (int32_t i = 0; i < head_dim; i += lanes)
      hn::StoreU(load_part(d, from + i * kPair<T>, slot % kPair<T>), d, out + slot * stride + i);
  }
}

}  // namespace

void rotate_page(const void* page_k, const void* page_v, DType dtype, int32_t slots,
                 const float* rope, int32_t half, int32_t head_dim, float* out_k, int64_t stride_k,
                 float* out_v, int64_t stride_v) {
  if (dtype == DType::kI8) {
    HWY_ALIGN float keys[kMaxHeadDim * kPanel];
    load_int8_slots(static_cast<const int8_t*>(page_k), int8_scales(page_k, head_dim), head_dim,
                    keys);
    rotate_keys(keys, slots, rope, half, head_dim, out_k, stride_k);
    HWY_ALIGN float values[padded_head_dim(kMaxHeadDim)];
    for (int32_t slot = 0; slot < slots; ++slot) {
      load_int8(static_cast<const int8_t*>(page_v) + slot * head_dim,
                int8_scales(page_v, head_dim)[slot], padded_head_dim(head_dim), values);
      copy_values(values, 1, head_dim, out_v + slot * stride_v, stride_v);
    }
  } else if (dtype == DType::kBF16) {
    rotate_keys(static_cast<const uint16_t*>(page_k), slots, rope, half, head_dim, out_k, stride_k);
    copy_values(static_cast<const uint16_t*>(page_v), slots, head_dim, out_v, stride_v);
  } else {
    rotate_keys(static_cast<const float*>(page_k), slots, rope, half, head_dim, out_k, stride_k);
    copy_values(static_cast<const float*>(page_v), slots, head_dim, out_v, stride_v);
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

RopeRotateKernels rope_rotate_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, rotate_page)};
}

RopeRotate::RopeRotate(ThreadPool& pool, Isa isa, const AttentionConfig& config)
    : pool_(pool),
      kernels_(rope_rotate_kernels(isa)),
      num_kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim),
      inv_freq_(config.inv_freq) {
  rope_.reserve(static_cast<int64_t>(2 * inv_freq_.size()));
}

void RopeRotate::run(const CpuKvStorage& kv, std::span<const PageId> pages, int32_t length,
                     int32_t layer, int32_t delta, const Tensor& out_k, const Tensor& out_v) {
  const int64_t cols = int64_t{num_kv_heads_} * head_dim_;
  if (out_k.rows != length || out_v.rows != length || out_k.cols != cols || out_v.cols != cols) {
    throw Error(ErrorCode::kInternal, "rope_rotate: out_k or out_v has the wrong shape");
  }
  // The attention factor is in the stored keys already.
  rope_angles(inv_freq_, 1.0, delta, rope_.data());
  const int64_t used = (length + kPanel - 1) / kPanel;
  pool_.run(used, [&](int64_t index, int) {
    const PageId page = pages[static_cast<size_t>(index)];
    const auto first = static_cast<int32_t>(index * kPanel);
    for (int32_t head = 0; head < num_kv_heads_; ++head) {
      kernels_.rotate_page(kv.k(page, layer, head), kv.v(page, layer, head), kv.shape().dtype,
                           std::min(kPanel, length - first), rope_.data(),
                           static_cast<int32_t>(inv_freq_.size()), head_dim_,
                           out_k.f32() + first * out_k.stride + head * head_dim_, out_k.stride,
                           out_v.f32() + first * out_v.stride + head * head_dim_, out_v.stride);
    }
  });
}

}  // namespace block_attention
#endif
