// The gated activation of the feed-forward layer (Shazeer 2020, eq. 6).
#pragma once

#include "core/tensor.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda {

// out = silu(gate) * up with gate_up = [gate | up] of 2 x out.cols columns; both bf16 or both f16,
// float32 arithmetic. Rows are 16-byte aligned and out.cols is a multiple of 8. Throws
// Error(kInvalidArgument) if shapes or types do not fit.
void swiglu(Device& device, const Tensor& gate_up, const Tensor& out);

}  // namespace block_attention::cuda
