// RoPE of new keys (Su et al. 2021), with QK-norm before it, and their way into the pages.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cpu/isa.hpp"
#include "cpu/kv_storage.hpp"
#include "cpu/rms_norm.hpp"
#include "cpu/rope_table.hpp"
#include "cpu/thread_pool.hpp"
#include "model/backend.hpp"

namespace block_attention {

struct RopeKernels {
  // Rotates k [head_dim] by rope (cos, then sin, `half` each) and writes it, and v, to slot `slot`
  // of a page, rounded to nearest even if the page is bf16.
  void (*store)(const float* k, const float* v, const float* rope, int32_t half, int32_t head_dim,
                DType dtype, int32_t slot, void* page_k, void* page_v);
};

RopeKernels rope_kernels(Isa isa);

// Backend::rope_store on the CPU.
class RopeStore {
 public:
  RopeStore(ThreadPool& pool, Isa isa, const AttentionConfig& config);

  // Throws Error(kInternal) if a view does not fit the step.
  void run(const Tensor& qkv, const Step& step, const QkNorm& norm, RopeTable& table, int32_t layer,
           CpuKvStorage& kv);

 private:
  void run_row(float* row, const StepSequence& sequence, int32_t token, const QkNorm& norm,
               const RopeTable& table, int32_t layer, CpuKvStorage& kv) const;

  ThreadPool& pool_;
  RopeKernels kernels_;
  RmsNormKernels norm_kernels_;
  int32_t num_heads_;
  int32_t num_kv_heads_;
  int32_t head_dim_;
};

}  // namespace block_attention
