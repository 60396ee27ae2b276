#include "model/stacked_shape.hpp"

#include <string>

#include "core/error.hpp"

namespace block_attention {

StackedShape stacked_shape(std::span<const HostMatrix> parts, std::span<const float> bias) {
  if (parts.empty())
    throw Error(ErrorCode::kInvalidArgument, "a linear weight needs at least one matrix");
  StackedShape shape{parts[0].dtype, 0, parts[0].cols};
  for (const HostMatrix& part : parts) {
    if (part.dtype != shape.dtype || part.cols != shape.in_features) {
      throw Error(ErrorCode::kInvalidArgument,
                  "stacked matrices must agree: " + std::string(dtype_name(shape.dtype)) +
                      " with " + std::to_string(shape.in_features) + " input features and " +
                      dtype_name(part.dtype) + " with " + std::to_string(part.cols));
    }
    if (part.rows < 1 || part.cols < 1) {
      throw Error(ErrorCode::kInvalidArgument,
                  "a linear weight needs at least one row and one column");
    }
    shape.out_features += part.rows;
  }
  if (!bias.empty() && static_cast<int64_t>(bias.size()) != shape.out_features) {
    throw Error(ErrorCode::kInvalidArgument,
                "bias has " + std::to_string(bias.size()) + " values for " +
                    std::to_string(shape.out_features) + " output features");
  }
  return shape;
}

}  // namespace block_attention
