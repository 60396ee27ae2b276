#include "cpu/rope.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rope.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "core/error.hpp"
#include "cpu/attention_kernels.hpp"
#include "cpu/kv_int8-inl.hpp"
#include "cpu/rotate-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {

// As f32_to_bf16 of core/dtype.hpp, which must not be compiled for this target.
HWY_INLINE uint16_t round_to_bf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((nan ? bits | 0x400000u : rounded) >> 16);
}

// One token's values of bf16. Those of the other slot of a pair may be written by another thread
// meanwhile, so nothing is written but these.
HWY_INLINE void store_bf16(const float* k, const float* v, int32_t head_dim, int32_t slot,
                           void* page_k, void* page_v) {
  constexpr int32_t kPair = kv_pair(DType::kBF16);
  HWY_ALIGN uint16_t keys[kMaxHeadDim];
  HWY_ALIGN uint16_t values[kMaxHeadDim];
  for (int32_t i = 0; i < head_dim; ++i) keys[i] = round_to_bf16(k[i]);
  for (int32_t i = 0; i < head_dim; ++i) values[i] = round_to_bf16(v[i]);
  uint16_t* to_k = static_cast<uint16_t*>(page_k) + key_index(kPair, slot, 0);
  for (int32_t i = 0; i < head_dim; i += kPair)
    __builtin_memcpy(to_k + key_index(kPair, 0, i), keys + i, kPair * sizeof(uint16_t));
  uint16_t* to_v = static_cast<uint16_t*>(page_v) + value_index(kPair, head_dim, slot, 0);
  for (int32_t i = 0; i < head_dim; ++i) to_v[i * kPair] = values[i];
}

}  // namespace

void store(const float* k, const float* v, const float* rope, int32_t half, int32_t head_dim,
           DType dtype, int32_t slot, void* page_k, void* page_v) {
  HWY_ALIGN float rotated[kMaxHeadDim];
  rotate_head(k, rope, half, head_dim, 1.0f, rotated);
  if (dtype == DType::kI8) {
    int8_scales(page_k, head_dim)[slot] =
        store_int8(rotated, head_dim, static_cast<int8_t*>(page_k) + slot, kPanel);
    int8_scales(page_v, head_dim)[slot] =
        store_int8(v, head_dim, static_cast<int8_t*>(page_v) + slot * head_dim, 1);
  } else if (dtype == DType::kBF16) {
    store_bf16(rotated, v, head_dim, slot, page_k, page_v);
  } else {
    float* to_k = static_cast<float*>(page_k) + slot;
    float* to_v = static_cast<float*>(page_v) + slot * head_dim;
    for (int32_t i = 0; i < head_dim; ++i) to_k[i * kPanel] = rotated[i];
    for (int32_t i = 0; i < head_dim; ++i) to_v[i] = v[i];
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/cpu_vector.hpp"

namespace block_attention {
namespace {

// Rows per task: a page's worth.
constexpr int32_t kTaskRows = 16;

const float* weights_of(const VectorWeight* weight) {
  return weight == nullptr ? nullptr : static_cast<const CpuVector*>(weight)->data();
}

}  // namespace

RopeKernels rope_kernels(Isa isa) { return {BLOCK_ATTENTION_KERNEL(isa, store)}; }

RopeStore::RopeStore(ThreadPool& pool, Isa isa, const AttentionConfig& config)
    : pool_(pool),
      kernels_(rope_kernels(isa)),
      norm_kernels_(rms_norm_kernels(isa)),
      num_heads_(config.num_heads),
      num_kv_heads_(config.num_kv_heads),
      head_dim_(config.head_dim) {}

void RopeStore::run(const Tensor& qkv, const Step& step, const QkNorm& norm, RopeTable& table,
                    int32_t layer, CpuKvStorage& kv) {
  if (qkv.rows != step.rows() || qkv.cols != int64_t{num_heads_ + 2 * num_kv_heads_} * head_dim_) {
    throw Error(ErrorCode::kInternal, "rope_store: qkv does not fit the step");
  }
  for (const StepSequence& sequence : step.sequences)
    table.ensure(int64_t{sequence.local_begin} + sequence.rows);

  pool_.run_in_order((qkv.rows + kTaskRows - 1) / kTaskRows, [&](int64_t task, int) {
    const auto first = static_cast<int32_t>(task * kTaskRows);
    const int32_t last = std::min(first + kTaskRows, static_cast<int32_t>(qkv.rows));
    for (const StepSequence& sequence : step.sequences) {
      const int32_t begin = std::max(first, sequence.first_row);
      const int32_t end = std::min(last, sequence.first_row + sequence.rows);
      for (int32_t row = begin; row < end; ++row) {
        run_row(qkv.f32() + row * qkv.stride, sequence, row - sequence.first_row, norm, table,
                layer, kv);
      }
    }
  });
}

void RopeStore::run_row(float* row, const StepSequence& sequence, int32_t token, const QkNorm& norm,
                        const RopeTable& table, int32_t layer, CpuKvStorage& kv) const {
  const float* q_norm = weights_of(norm.q);
  const float* k_norm = weights_of(norm.k);
  if (q_norm != nullptr) {
    for (int32_t head = 0; head < num_heads_; ++head) {
      float* q = row + head * head_dim_;
      norm_kernels_.rms_norm(q, q_norm, norm.eps, head_dim_, q);
    }
  }
  const int32_t local = sequence.local_begin + token;
  const PageId page = sequence.segments.back().pages[static_cast<size_t>(local / kPanel)];
  const float* keys = row + num_heads_ * head_dim_;
  const float* values = keys + num_kv_heads_ * head_dim_;
  for (int32_t head = 0; head < num_kv_heads_; ++head) {
    const float* k = keys + head * head_dim_;
    float normed[kMaxHeadDim];
    if (k_norm != nullptr) {
      norm_kernels_.rms_norm(k, k_norm, norm.eps, head_dim_, normed);
      k = normed;
    }
    kernels_.store(k, values + head * head_dim_, table.row(local), table.half(), head_dim_,
                   kv.shape().dtype, local % kPanel, kv.k(page, layer, head),
                   kv.v(page, layer, head));
  }
}

}  // namespace block_attention
#endif
