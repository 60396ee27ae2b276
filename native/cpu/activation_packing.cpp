#include "cpu/activation_packing.hpp"

#include <algorithm>

#include "cpu/row_groups.hpp"

namespace block_attention {

ActivationPacking::ActivationPacking(Isa isa)
    : pairs_(bf16_pair_kernels()), interleave_(interleave_kernels(isa)) {}

void ActivationPacking::pack(const PackedShape& shape, int64_t group, int64_t first_step,
                             int64_t steps, const float* x, int64_t x_stride, int64_t inputs,
                             float* scratch, float* packed) const {
  const int64_t inputs_per_step = shape.format == LinearFormat::kBF16Pairs ? 2 : 1;
  while (steps > 0) {
    const int64_t in_block = std::min(steps, kSumBlock - first_step % kSumBlock);
    const int64_t taken = std::min(inputs, in_block * inputs_per_step);
    pack_block(shape, group, first_step, in_block, x, x_stride, taken, scratch, packed);
    first_step += in_block;
    steps -= in_block;
    x += taken;
    inputs -= taken;
  }
}

void ActivationPacking::pack_block(const PackedShape& shape, int64_t group, int64_t first_step,
                                   int64_t steps, const float* x, int64_t x_stride, int64_t inputs,
                                   float* scratch, float* packed) const {
  const int64_t begin = group_begin(shape.rows, shape.groups, group);
  const int64_t rows = group_begin(shape.rows, shape.groups, group + 1) - begin;
  const void* sources[kMaxGroupRows];
  for (int64_t i = 0; i < rows; ++i) {
    const float* row = x + i * x_stride;
    sources[i] = row;
    if (shape.format == LinearFormat::kBF16Pairs) {
      float* rounded = scratch + i * kSumBlock;
      pairs_.round(row, inputs, rounded);
      sources[i] = rounded;
    }
  }
  const int64_t block = first_step / kSumBlock * kSumBlock;
  const int64_t block_steps = std::min(kSumBlock, shape.steps - block);
  interleave_.words32(
      sources, rows, steps,
      packed + shape.rows * block + begin * block_steps + (first_step - block) * rows, rows);
}

}  // namespace block_attention
