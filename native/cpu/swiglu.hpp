// The gated activation of the feed-forward layer, silu(gate) * up (Shazeer 2020, eq. 6), over one
// row of float32.
#pragma once

#include <cstdint>

#include "cpu/isa.hpp"

namespace block_attention {

struct SwigluKernels {
  // out[i] = gate[i] / (1 + exp(-gate[i])) * up[i], i < n. out may be gate or up.
  void (*swiglu)(const float* gate, const float* up, int64_t n, float* out);
};

SwigluKernels swiglu_kernels(Isa isa);

}  // namespace block_attention
