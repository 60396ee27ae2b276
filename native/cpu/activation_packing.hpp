// How activations of many rows lie when they are multiplied (LinearTile::x): for each block of
// kSumBlock steps, for each group of rows, steps x rows of the group.
#pragma once

#include <cstdint>

#include "cpu/bf16_pairs.hpp"
#include "cpu/interleave.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear_kernels.hpp"

namespace block_attention {

inline constexpr int64_t kMaxGroupRows = 32;

struct PackedShape {
  LinearFormat format;  // of the weight they are multiplied by
  int64_t rows;
  int64_t groups;
  int64_t steps;
};

class ActivationPacking {
 public:
  // Floats of scratch memory for packing.
  static constexpr int64_t kScratchFloats = kMaxGroupRows * kSumBlock;

  explicit ActivationPacking(Isa isa);

  // Packs steps first_step .. first_step + steps - 1 of a group's rows. x: the first of these steps
  // of the group's first row; `inputs` of each row, one for every step or, of pairs, two, of which
  // the last may lack its second.
  void pack(const PackedShape& shape, int64_t group, int64_t first_step, int64_t steps,
            const float* x, int64_t x_stride, int64_t inputs, float* scratch, float* packed) const;

 private:
  // Of one block.
  void pack_block(const PackedShape& shape, int64_t group, int64_t first_step, int64_t steps,
                  const float* x, int64_t x_stride, int64_t inputs, float* scratch,
                  float* packed) const;

  Bf16PairKernels pairs_;
  InterleaveKernels interleave_;
};

}  // namespace block_attention
