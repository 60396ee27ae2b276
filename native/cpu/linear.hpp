// out = x * weight^T + bias on the CPU over weights in their stored precision: in float32
// arithmetic or, of a weight of bf16 pairs, with x rounded to bf16.
//
// Every element of the output has the same bits whatever the rows of the call, the threads, and, of
// AVX2 and AVX-512, the instruction set (linear_kernels.hpp says in which order it is summed).
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cpu/activation_packing.hpp"
#include "cpu/amx_bf16_linear.hpp"
#include "cpu/gated_part.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear_kernels.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

// The op and its scratch memory, which grows to what the largest call so far needed and is then
// reused. One call at a time.
class LinearOp {
 public:
  LinearOp(ThreadPool& pool, Isa isa);

  // x [rows, in_features], out [rows, out_features], float32, strides at least the columns; they
  // must not overlap. Throws Error(kInvalidArgument) if they do not fit the weight. `next`: what
  // the run of tasks after this one reads.
  void run(const Tensor& x, const PackedLinear& weight, const Tensor& out,
           const NextReads& next = {});

  // gate.out = silu(x * gate^T) * (x * up^T) of a weight [gate; up] that can_be_gated(), the same
  // bits as in two ops. `then`, which may be null, is the weight that will multiply the output: if
  // there is room it is packed for it, and the result says so. Throws Error(kInvalidArgument) if x
  // does not fit the weight.
  Tensor run_gated(const Tensor& x, const PackedLinear& weight, const Gate& gate,
                   const PackedLinear* then);

  // Where threads begin to read the weight, for few rows; for many, which do not wait for memory,
  // nothing.
  NextReads reads(const PackedLinear& weight, int64_t rows) const;

 private:
  // What gates a pass over some of the rows, and how its output is packed, if it is.
  struct PassGate {
    Gate gate;
    PackedShape packed;
  };

  // The output goes to `out`, or through `gate` and, if that is packed, in the format of `then`.
  void run(const Tensor& x, const PackedLinear& weight, const Tensor* out, const Gate* gate,
           const PackedLinear* then, const NextReads& next);
  void run_direct(const Tensor& x, LinearTile tile, const NextReads& next);
  // Panels of a run (linear_kernels.hpp), for `step` panels at once.
  int64_t direct_run(int64_t out_features, int64_t step) const;
  void run_repacked(const Tensor& x, LinearTile tile, const PassGate* gate);
  void repack(const Tensor& x, const PackedShape& shape, float* packed);
  // Whether its products are summed as AMX sums them: by tiles, or for few rows by vectors.
  bool in_order_of_tiles(const PackedLinear& weight) const;
  float* worker_scratch(int worker);
  float* gate_scratch(int worker);
  // Room for so many activations, or pairs of them.
  float* activations(int64_t count);
  // Panels that there are tasks for: of one half of a weight that is gated.
  static int64_t task_panels(const LinearTile& tile, const PassGate* gate);
  // Shares out panels x row blocks over the pool. `gate` may be null.
  void run_tiles(const LinearTile& whole, int64_t blocks, int64_t chunk,
                 void (*kernel)(const LinearTile&), const PassGate* gate,
                 const NextReads& next = {});
  void run_gated_part(const LinearTile& whole, const TilePart& part, int worker,
                      void (*kernel)(const LinearTile&), const PassGate& gate);

  ThreadPool& pool_;
  Isa isa_;
  LinearKernels kernels_;
  Bf16PairKernels pairs_;
  ActivationPacking packing_;
  AmxBf16Linear amx_;
  Buffer worker_scratch_;
  Buffer gate_scratch_;
  Buffer activations_;
};

}  // namespace block_attention
