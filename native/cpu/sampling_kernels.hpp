// The passes over a row of logits that sampling is made of. NaN counts as -inf everywhere.
// Thresholds are finite, so a logit of -inf has weight 0 and is never collected.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

struct Peak {
  float value;
  int32_t index;
};

// exp((x - max) / temperature) is the weight of a logit x <= max.
struct WeightScale {
  float max;
  float temperature;
};

struct SamplingKernels {
  // The largest logit and the lowest index that has it; {-inf, 0} if none is larger than -inf.
  Peak (*peak)(const float* x, int64_t n);
  // Sum of the weights of those with x[i] >= threshold. float32 in 16 lanes: meant for chunks of a
  // few hundred, whose sums the caller adds in float64.
  double (*sum_weights)(const float* x, int64_t n, WeightScale scale, float threshold);
  // weights[i] = the weight of x[i], 0 below the threshold.
  void (*weights)(const float* x, int64_t n, WeightScale scale, float threshold, float* weights);
  // Writes the rank keys (below) of those with x[i] >= threshold, whose ids are first_id + i;
  // returns how many. Room for n keys.
  size_t (*collect)(const float* x, int64_t n, int32_t first_id, float threshold, uint64_t* keys);
};

SamplingKernels sampling_kernels(Isa isa);

// A rank key holds a logit and its token id such that a larger key is a larger logit or, among
// equals, a lower id.
float rank_key_logit(uint64_t key);
inline int32_t rank_key_id(uint64_t key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}

}  // namespace block_attention
