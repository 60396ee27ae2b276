// Attention over pages of bf16 by AMX: products of tiles of packed rows with keys, and of weights
// with values.
//
// Every sum has one order, whatever the rows of the call: a score is summed over steps of 32 dims,
// an output over steps of 32 keys, counted from the start of the cut; in a step the even ones are
// one chain of fused multiply-adds from zero and the odd ones another; the two are added, and added
// to the sum. Weights are made by exp2_beside_tiles(). Everything else is as in
// attention_stages-inl.hpp for Bf16Dots.
#pragma once

#include <cstdint>

#include "cpu/attention_kernels.hpp"

namespace block_attention {

// Whether a tile's step divides the dims of a head; other heads are multiplied by vectors.
constexpr bool amx_takes_head(int32_t head_dim) { return head_dim % 32 == 0; }

// Rows that are computed at once.
inline constexpr int32_t kAmxAttentionRows = 16;

#if defined(__x86_64__)
// Only for Isa::kAmxBf16, pages of bf16 and heads that amx_takes_head(): `scratch_size` and
// `attend` of AttentionKernels.
int64_t amx_attention_scratch_size(const AttentionShape& shape);
void amx_attend(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                const AttentionRow* rows, int32_t count, float* scratch);
#endif

}  // namespace block_attention
