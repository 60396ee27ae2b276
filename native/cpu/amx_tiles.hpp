// AMX instructions on tiles of 16 rows of 64 bytes. As assembly, since they are no part of what any
// target is compiled for (amx.hpp says whether they can be used); volatile, which keeps them in
// order, since the compiler knows nothing of tile registers.
#pragma once

#if defined(__x86_64__)

#include <cstdint>

namespace block_attention::amx {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kRowBytes = 64;
inline constexpr int64_t kTileBytes = kTileRows * kRowBytes;

// Configures this thread's eight tiles, and gives them back: a thread that keeps none costs no
// context switch the saving of 8 KiB, and the core can sleep.
class Tiles {
 public:
  Tiles() {
    // Fields are those of palette 1: rows of each tile, and their bytes.
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {kRowBytes, kRowBytes, kRowBytes, kRowBytes,
                                kRowBytes, kRowBytes, kRowBytes, kRowBytes};
      uint8_t rows[16] = {kTileRows, kTileRows, kTileRows, kTileRows,
                          kTileRows, kTileRows, kTileRows, kTileRows};
    } config;
    static_assert(sizeof(config) == 64);
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

template <int kTile>
inline void zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

// Rows are `stride` bytes apart.
template <int kTile>
inline void load(const void* from, int64_t stride = kRowBytes) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(from), "r"(stride) : "memory");
}

// The same, but past the first-level cache, which keeps what it has.
template <int kTile>
inline void load_past(const void* from, int64_t stride = kRowBytes) {
  asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(from), "r"(stride) : "memory");
}

template <int kTile>
inline void store(void* to, int64_t stride = kRowBytes) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(to), "r"(stride) : "memory");
}

// sums[row][column] += the products of the row of `a` with the column of `b`, four signed bytes
// in each of its 16 rows.
template <int kSums, int kA, int kB>
inline void multiply_int8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}

// The same of floats, with two bf16 side by side in place of four bytes (amx_bf16_kernels.hpp says
// in which order).
template <int kSums, int kA, int kB>
inline void multiply_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
}

}  // namespace block_attention::amx

#endif
