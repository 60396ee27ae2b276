#include "cpu/linear_shape.hpp"

#include <string>

#include "core/error.hpp"

namespace block_attention {
namespace {

std::string shape(const Tensor& t) {
  return std::string(dtype_name(t.dtype)) + " " + std::to_string(t.rows) + " x " +
         std::to_string(t.cols);
}

}  // namespace

void check_linear_shape(const Tensor& x, const LinearWeight& weight, const Tensor& out,
                        bool gated) {
  if (x.dtype != DType::kF32 || out.dtype != DType::kF32 || x.rows != out.rows ||
      x.cols != weight.in_features() || out.cols * (gated ? 2 : 1) != weight.out_features() ||
      (x.rows > 1 && (x.stride < x.cols || out.stride < out.cols))) {
    throw Error(ErrorCode::kInvalidArgument, "linear: " + shape(x) + " to " + shape(out) +
                                                 " does not fit a weight of " +
                                                 std::to_string(weight.out_features()) + " x " +
                                                 std::to_string(weight.in_features()));
  }
}

}  // namespace block_attention
