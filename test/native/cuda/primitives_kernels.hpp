// Kernels that do little more than one primitive. All pointers are to device memory.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda::test {

// Registers of the 32 lanes one after another: a [32][4], b [32][2], d [32][4] in and out.
void run_mma(Device& device, DType dtype, const uint32_t* a, const uint32_t* b, float* d);

// The 32 rows of 16 bytes that lanes name, row_of[lane] each, are four matrices; r is [32][4].
void run_ldmatrix(Device& device, bool transposed, const uint32_t* rows, const int32_t* row_of,
                  uint32_t* r);

// Copies pieces of 16 bytes, `valid` or zeros, 128 per block, in two groups; out[i] is piece i.
void run_cp_async(Device& device, int32_t pieces, const char* from, const uint8_t* valid,
                  char* out);

// Per lane of one warp, for its value of in[32].
struct ShuffleResults {
  uint32_t by_xor[5];      // masks 1, 2, 4, 8, 16
  uint32_t from_lane;      // lane (7 lane + 3) % 32
  uint32_t from_below[6];  // distances 0, 1, 2, 4, 8, 31
  uint32_t ballot;         // of odd values
  uint32_t padding;
  uint64_t wide_xor;  // mask 16 of value * 0x100000001
  double real_xor;    // mask 1 of value / 3
  float float_xor;    // mask 8 of value / 3
  float padding_float;
};
void run_shuffles(Device& device, const uint32_t* in, ShuffleResults* out);

void run_narrow(Device& device, DType dtype, int32_t count, const float* in, uint16_t* out);
// Pairs: out[i] = pack(in[2 i], in[2 i + 1]).
void run_pack(Device& device, DType dtype, int32_t pairs, const float* in, uint32_t* out);
// The bits of widen() for every pattern of 16 bits, and of what unpack_low and unpack_high make of
// two of them: out is [65536][3].
void run_widen(Device& device, DType dtype, uint32_t* out);

void run_exp2(Device& device, int32_t count, const float* in, float* out);

// 256 threads add their number to counter[number % 7]; before[thread] is what was there.
void run_atomic_add(Device& device, uint32_t* counters, uint32_t* before);

// Moves 64 bytes per thread through shared memory in pieces of 1, 2, 4, 8 and 16 bytes, by ldg and
// by ldg_streaming: out is [5][2][128 threads][64].
void run_moves(Device& device, const char* in, char* out);

// Warp 0 hands `count` numbers to warp 1 through one slot and named barriers.
void run_named_barriers(Device& device, int32_t count, const uint32_t* in, uint32_t* out);

// Where blocks and threads say they are, [blocks][threads][8]: thread, block x, y, z, block size,
// grid x, y, z.
void run_indices(Device& device, uint32_t x, uint32_t y, uint32_t z, uint32_t threads,
                 uint32_t* out);

}  // namespace block_attention::cuda::test
