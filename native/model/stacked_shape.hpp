// The shape of matrices that are stacked along their output features into one linear weight.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.hpp"

namespace block_attention {

struct StackedShape {
  DType dtype;
  int64_t out_features;
  int64_t in_features;
};

// Throws Error(kInvalidArgument) if there are no parts, one is empty, parts differ in dtype or
// in_features, or a bias that is not empty has another length than out_features.
StackedShape stacked_shape(std::span<const HostMatrix> parts, std::span<const float> bias);

}  // namespace block_attention
