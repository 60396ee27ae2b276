// Tiles in shared memory whose rows are read by ldmatrix or wgmma.
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

// ---- Tiles in panels: a panel is 128 bytes (64 dims) of kRows rows, and a tile its panels one
// behind the other, at a multiple of 1024. The layout of bulk copies and of wgmma with the 128-byte
// swizzle (PTX ISA, "Swizzling modes").

template <int kRows>
DEVICE_FN uint32_t panel_offset(int row, int chunk) {
  static_assert(kRows % 8 == 0);
  return static_cast<uint32_t>((chunk / 8 * kRows + row) * 128 + ((chunk % 8) ^ (row & 7)) * 16);
}

// From the address of chunk 0 or 1 of a row to that of chunk 2 * pair or 2 * pair + 1.
template <int kRows>
DEVICE_FN uint32_t at_chunk_pair(uint32_t address, int pair) {
  return (address ^ static_cast<uint32_t>(pair % 4 * 32)) +
         static_cast<uint32_t>(pair / 4 * kRows * 128);
}

}  // namespace block_attention::cuda
