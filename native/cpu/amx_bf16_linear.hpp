// `linear` over weights in pairs of bf16 by AMX (amx_bf16_kernels.hpp), for any number of rows.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cpu/amx_bf16_kernels.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

// The op and its scratch memory; that of activations grows to what the largest call so far needed
// and is then reused. One call at a time, and none for another instruction set than kAmxBf16.
class AmxBf16Linear {
 public:
  AmxBf16Linear(ThreadPool& pool, Isa isa);

  // out = x * weight^T + bias; x may be what run_gated() packed for this weight.
  void run(const Tensor& x, const PackedLinear& weight, const Tensor& out);
  // out = silu(x * gate^T) * (x * up^T) of a weight [gate; up], both of whole panels. Gives out, or
  // what is packed for `then`, which may be null, in its memory.
  Tensor run_gated(const Tensor& x, const PackedLinear& weight, const Tensor& out,
                   const PackedLinear* then);

 private:
  void run(const Tensor& x, const PackedLinear& weight, int64_t half, const Tensor& out);
  const float* pack(const Tensor& x, const AmxTile& tile);
  void multiply(const AmxTile& whole, int64_t block_rows);

  ThreadPool& pool_;
  AmxBf16Kernels kernels_;
  Buffer scratch_;
  Buffer activations_;
};

}  // namespace block_attention
