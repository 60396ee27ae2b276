// Kernels that do little more than one primitive of Hopper. All pointers are to device memory.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda::test {

// Products of a (64 x 128) and b (128 x cols), many of a kind.
inline constexpr int kProductRows = 64;
inline constexpr int kProductDepth = 128;
struct ProductShape {
  DType dtype;
  int cols;            // 64 or 128
  bool transposed_b;   // b is stored [k][n], otherwise [n][k]
  bool accumulates;    // what d held is added
  uint32_t count = 1;  // of products, one behind the other
};
// a [count][64][128], b [count][128 x cols], d [count][64][cols] in and out. By eight products of a
// depth of 16, a in shared memory or in registers.
void run_wgmma(Device& device, const ProductShape& shape, bool registers_a, const uint16_t* a,
               const uint16_t* b, float* d);
// The same by mma_m16n8k16, its operands taken from a and b one by one.
void run_mma_chain(Device& device, const ProductShape& shape, const uint16_t* a, const uint16_t* b,
                   float* d);

// A matrix of 16-bit elements, dense.
struct HalfMatrix {
  const uint16_t* data;
  int rows;
  int cols;
};
inline constexpr int kBoxRows = 16;
inline constexpr int kBoxCols = 64;
// How many boxes run_box_copies copies at a time.
inline constexpr int kBoxesOfBarrier = 4;

// Copies boxes of 16 x 64 elements to shared memory, four at a time by as many lanes, and takes
// each element from where panel_offset says that it lies. places [count][2]: the column and row
// that a box begins at; `count` a multiple of 4; out [count][16][64].
void run_box_copies(Device& device, const HalfMatrix& matrix, int count, const int32_t* places,
                    uint16_t* out);

// The rows of the matrix (64 columns), 16 of them at a time, through a ring of three slots to four
// warps; with each box go 32 numbers that the producer stores itself. `boxes` of them per block,
// and the matrix holds those of `blocks` blocks. numbers [all boxes][32]; out [all boxes][16][64];
// numbers_out [all boxes][128 threads], thread i having number 31 - i % 32.
inline constexpr int kRingThreads = 128;  // that take from it
void run_ring(Device& device, const HalfMatrix& matrix, uint32_t blocks, int boxes,
              const uint32_t* numbers, uint16_t* out, uint32_t* numbers_out);

// Products of bf16 whose b comes through a ring of two slots in steps of 64 rows of the matrix (64
// columns): of the rows below lengths[step] whole boxes by bulk copies, what remains by cp_async16,
// and zeros behind. b is those rows [n][k], or if transposed_b [k][n]. a [64][64], from registers.
// `steps` of them per block, and the matrix holds those of `blocks` blocks; lengths [all steps];
// d [all steps][64][64].
void run_mixed_slots(Device& device, const HalfMatrix& matrix, bool transposed_b, uint32_t blocks,
                     int steps, const int32_t* lengths, const uint16_t* a, float* d);

}  // namespace block_attention::cuda::test
