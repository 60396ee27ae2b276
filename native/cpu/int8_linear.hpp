// out = x * weight^T + bias on the CPU with an int8 weight: activations are quantised as they come,
// row by row (int8_format.hpp says how, and in which order an element is summed).
#pragma once

#include <cstdint>

#include "core/tensor.hpp"
#include "cpu/gated_part.hpp"
#include "cpu/int8_kernels.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/isa.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

// The op and its scratch memory, which grows to what the largest call so far needed and is then
// reused. One call at a time.
class Int8LinearOp {
 public:
  Int8LinearOp(ThreadPool& pool, Isa isa, Int8Dot dot);

  // x [rows, in_features], out [rows, out_features], float32, strides at least the columns; they
  // must not overlap. Throws Error(kInvalidArgument) if they do not fit the weight. `next`: what
  // the run of tasks after this one reads.
  void run(const Tensor& x, const PackedInt8& weight, const Tensor& out,
           const NextReads& next = {});

  // gate.out = silu(x * gate^T) * (x * up^T) of a weight [gate; up] that can_be_gated(), the same
  // bits as in two ops. Throws Error(kInvalidArgument) if x does not fit the weight.
  void run_gated(const Tensor& x, const PackedInt8& weight, const Gate& gate);

  // Where threads begin to read the weight for one row; for more, of which not every thread reads
  // one stream, nothing.
  NextReads reads(const PackedInt8& weight, int64_t rows) const;

 private:
  // For the activations of so many rows and groups of inputs.
  Int8Terms make_room(int64_t rows, int64_t groups);
  // The output goes to `out`, or through `gate`.
  void run(const Tensor& x, const PackedInt8& weight, const Tensor* out, const Gate* gate,
           const NextReads& next);
  void quantize(const Tensor& x, const Int8Kernels& kernels, const Int8Tile& tile);
  // Shares out panels x row blocks over the pool.
  void run_tiles(const Int8Kernels& kernels, const Int8Tile& whole, const Gate* gate,
                 const NextReads& next);
  AmxInt8Scratch* amx_scratch(int worker) const;
  // Panels of a task where `step` are computed at once.
  int64_t panels_per_task(int64_t panels, int64_t blocks, int64_t step) const;

  ThreadPool& pool_;
  Isa isa_;
  Int8Dot dot_;
  Buffer ragged_;
  Buffer gate_scratch_;
  Buffer amx_;  // AmxInt8Scratch for each thread
  uint64_t calls_ = 0;
  Buffer values_;
  Buffer scales_;
  Buffer rows_with_second_;
};

}  // namespace block_attention
