// What kernels ask of their tensors beyond types and shapes.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace block_attention::cuda {

inline bool is_half(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF16; }

// Every row may be read and written in pieces of 16 bytes.
inline bool rows_aligned(const Tensor& tensor) {
  const auto row_bytes = static_cast<size_t>(tensor.stride) * dtype_size(tensor.dtype);
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 &&
         (tensor.rows <= 1 || row_bytes % 16 == 0);
}

// Rows do not overlap, and none is missing.
inline bool rows_apart(const Tensor& tensor) {
  return tensor.rows >= 0 && (tensor.rows <= 1 || tensor.stride >= tensor.cols);
}

// E.g. "bf16 50 x 4096 (stride 6144)".
inline std::string describe(const Tensor& tensor) {
  return std::string(dtype_name(tensor.dtype)) + " " + std::to_string(tensor.rows) + " x " +
         std::to_string(tensor.cols) + " (stride " + std::to_string(tensor.stride) + ")";
}

[[noreturn]] inline void refuse(const std::string& op, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, op + ": " + what);
}

}  // namespace block_attention::cuda
