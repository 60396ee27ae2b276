// The row lookup of `embedding` in a packed weight.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {

// out[i] = row tokens[i] of the table as float32: out is [tokens, in_features]. Throws
// Error(kInvalidArgument) on a token outside the table or a shape that does not fit.
void embedding(ThreadPool& pool, const PackedLinear& table, std::span<const int32_t> tokens,
               const Tensor& out);
void embedding(ThreadPool& pool, const PackedInt8& table, std::span<const int32_t> tokens,
               const Tensor& out);

}  // namespace block_attention
