// The lookup of token embeddings.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/linear_weight.hpp"

namespace block_attention::cuda {

// Throws Error(kInvalidArgument) that names a token outside the table.
void check_tokens(const CudaLinearWeight& table, std::span<const int32_t> tokens);

// out[i] = row tokens[i] of the table as float32: out is [tokens, in_features], rows 16-byte
// aligned. `tokens` is out.rows ids on the device that check_tokens() took. Throws
// Error(kInvalidArgument) if the shapes do not fit.
void embedding(Device& device, const CudaLinearWeight& table, const int32_t* tokens,
               const Tensor& out);

}  // namespace block_attention::cuda
