// Keys of a block rotated on by some positions, and its values, as one contiguous copy: for export,
// and as the baseline that attention with rotated queries is measured against.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/dtype.hpp"
#include "cpu/aligned_floats.hpp"
#include "cpu/isa.hpp"
#include "cpu/kv_storage.hpp"
#include "cpu/thread_pool.hpp"
#include "model/backend.hpp"

namespace block_attention {

struct RopeRotateKernels {
  // The first `slots` keys and values of a page as rows of out_k and out_v; rope holds cos, then
  // sin, `half` each.
  void (*rotate_page)(const void* page_k, const void* page_v, DType dtype, int32_t slots,
                      const float* rope, int32_t half, int32_t head_dim, float* out_k,
                      int64_t stride_k, float* out_v, int64_t stride_v);
};

RopeRotateKernels rope_rotate_kernels(Isa isa);

// Backend::rope_rotate on the CPU.
class RopeRotate {
 public:
  RopeRotate(ThreadPool& pool, Isa isa, const AttentionConfig& config);

  // Throws Error(kInternal) if a view has the wrong shape.
  void run(const CpuKvStorage& kv, std::span<const PageId> pages, int32_t length, int32_t layer,
           int32_t delta, const Tensor& out_k, const Tensor& out_v);

 private:
  ThreadPool& pool_;
  RopeRotateKernels kernels_;
  int32_t num_kv_heads_;
  int32_t head_dim_;
  std::vector<double> inv_freq_;
  AlignedFloats rope_;
};

}  // namespace block_attention
