// How far rounding a layer's q and k projections to int8 moves its attention scores, told from the
// weights alone: such layers are better kept as they are stored (load_weights).
#pragma once

#include <span>

#include "core/tensor.hpp"

namespace block_attention {

// A projection onto heads: rows heads x head_dim. `bias` and `norm` (of each head, head_dim values)
// may be empty.
struct HeadProjection {
  HostMatrix matrix;
  std::span<const float> bias;
  std::span<const float> norm;
};

// The root mean square of the error, in nats, in the head where it is greatest. `input_norm` is the
// weight of the RMSNorm before both projections. Inputs are taken for independent with a mean
// square of one before it, rounding errors for the size that normal values have
// (cpu/int8_format.hpp).
//
// A vector q has an error of r |q| in no direction of its own, whose product with k is r |q| |k| /
// sqrt(D) as a rule; that of k likewise; and scores are divided by sqrt(D).
double score_error(const HeadProjection& q, const HeadProjection& k,
                   std::span<const float> input_norm, int64_t head_dim);

}  // namespace block_attention
