// Tiles in shared memory whose rows are read by ldmatrix.
#pragma once

#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// Where 16-byte chunk `chunk` of row `row` lies in a tile of kChunks chunks per row. Eight rows of
// the same chunk, as ldmatrix reads them, fall on eight different sixteenths of 128 bytes.
template <int kChunks>
DEVICE_FN uint32_t chunk_offset(int row, int chunk) {
  if constexpr (kChunks >= 8) {
    return static_cast<uint32_t>((row * kChunks + (chunk ^ (row & 7))) * 16);
  } else {
    static_assert(kChunks == 4);
    const int line = row >> 1;  // of two rows
    return static_cast<uint32_t>((line * 8 + (((row & 1) * 4 + chunk) ^ (line & 7))) * 16);
  }
}

// From the address of chunk 0 or 1 of a row to that of chunk 2 * pair or 2 * pair + 1, in a tile of
// at least 8 chunks per row that starts at a multiple of its row's bytes.
DEVICE_FN uint32_t at_chunk_pair(uint32_t address, int pair) {
  return address ^ static_cast<uint32_t>(pair * 32);
}

}  // namespace block_attention::cuda
