// Draws one token for each row of logits. A row's draw depends on that row, its parameters, its
// seed and its position alone: not on the batch, nor on threads.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/tensor.hpp"
#include "cpu/sampling_kernels.hpp"
#include "cpu/thread_pool.hpp"
#include "model/sampling.hpp"

namespace block_attention {

class Sampler {
 public:
  Sampler(Isa isa, ThreadPool& pool);

  // logits [rows, vocab] float32; they are the same afterwards. Token ids of bias and counts
  // outside the vocabulary are ignored. Allocates only when the vocabulary, the number of penalised
  // tokens or of log-probabilities is larger than ever before.
  void sample(const Tensor& logits, std::span<const SamplingRow> rows, std::span<SampledToken> out);

 private:
  // What one worker needs for one row.
  struct Workspace {
    std::vector<uint64_t> keys;  // candidates, as rank keys
    std::vector<double> sums;    // weight of each chunk of the row
    std::vector<std::pair<int32_t, float>>
        before;  // logits that bias and penalties changed, as they were
  };

  // The tokens that may be drawn: those with logit > threshold, and those with logit == threshold
  // and id <= last_id. top-k, top-p and min-p each keep the first so many tokens in the order of
  // rank keys, so what all of them keep is such a set too.
  struct Kept {
    float threshold;
    int64_t last_id;
  };

  struct Row {
    float* logits;
    int64_t vocab;
    const SamplingParams& params;
  };

  void reserve(int64_t vocab, std::span<const SamplingRow> rows, std::span<SampledToken> out);
  void sample_row(const Row& row, std::span<const TokenCount> counts, uint64_t position,
                  Workspace& work, SampledToken& out) const;
  bool apply_penalties(const Row& row, std::span<const TokenCount> counts, Workspace& work) const;
  int32_t draw(const Row& row, float max, uint64_t position, Workspace& work) const;
  Kept keep_top_k(const Row& row, Kept kept, Workspace& work) const;
  Kept keep_top_p(const Row& row, WeightScale scale, Kept kept, Workspace& work) const;
  int32_t pick(const Row& row, WeightScale scale, Kept kept, double total, uint64_t position,
               Workspace& work) const;

  double total_weight(const Row& row, WeightScale scale, Kept kept, Workspace& work) const;
  double total_weight(std::span<const uint64_t> keys, WeightScale scale) const;
  size_t top_keys(const Row& row, size_t count, Workspace& work) const;

  SamplingKernels kernels_;
  ThreadPool& pool_;
  std::vector<Workspace> workspaces_;  // one per worker
};

}  // namespace block_attention
