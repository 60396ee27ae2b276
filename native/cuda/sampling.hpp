// Draws one token for each row of logits on the device. A row's draw depends on that row, its
// parameters, its seed and its position alone: weights are summed as integers, so that not even the
// order of a sum matters.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/sampling_rows.hpp"
#include "cuda/step_arena.hpp"
#include "model/sampling.hpp"

namespace block_attention::cuda {

class CudaSampler {
 public:
  // `uploads` is the step's arena; whoever owns it resets it after finish().
  CudaSampler(Device& device, StepArena& uploads);

  // logits [rows, vocab] float32 on the device, at any stride; they are the same afterwards. Only
  // puts work on the stream; `rows` and `out` must stay until finish(). Token ids of bias and
  // counts outside the vocabulary are ignored; a row's counts name each token once. Allocates only
  // when a step needs more room than ever before. Throws Error(kUnsupported) for a vocabulary of
  // more than 4000000 tokens, Error(kOutOfMemory), Error(kDevice).
  void sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<SampledToken> out);

  // Fills in `out` of the calls since the last finish() or cancel(), in any number. Only after
  // Device::synchronize().
  void finish();

  // Forgets those calls, for when synchronize() threw.
  void cancel();

 private:
  struct Call {
    std::span<const SamplingRow> rows;
    std::span<SampledToken> out;
    int32_t vocab;
    const RowResult* results;     // pinned, one per row
    const TokenLogit* likeliest;  // pinned, all rows' one after the other
  };

  void add_row(const SamplingRow& row, int32_t vocab);
  static void fill(const Call& call);

  Device& device_;
  StepArena& uploads_;
  StepArena results_;  // what kernels write and the host reads
  std::vector<Call> calls_;
  // The arrays of one call, kept for their capacity.
  std::vector<RowTask> tasks_;
  std::vector<LogitBias> biases_;
  std::vector<TokenCount> counts_;
  int64_t likeliest_ = 0;  // places in the list of the likeliest that the rows so far take
};

}  // namespace block_attention::cuda
