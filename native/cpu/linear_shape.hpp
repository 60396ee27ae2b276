// What `linear` asks of its tensors, whatever the weight is made of.
#pragma once

#include "core/tensor.hpp"
#include "model/backend.hpp"

namespace block_attention {

// Throws Error(kInvalidArgument) unless x [rows, in_features] and out [rows, out_features] are
// float32 with strides of at least their columns. `gated`: out has half as many columns.
void check_linear_shape(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                        bool gated = false);

}  // namespace block_attention
