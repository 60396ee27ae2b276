// Bulk copies of sm_90: one thread has a box of a tensor copied; an mbarrier counts its bytes.
#pragma once

#include <cstdint>
#include <source_location>

namespace block_attention::cuda {

// A tensor of 16-bit elements in device memory. Outside of it a copy finds zeros.
struct TensorMap {
  const void* data = nullptr;
  int rank = 2;
  uint32_t size[3] = {};          // elements, the innermost dimension first
  uint64_t stride_bytes[3] = {};  // [0] is 2
  uint32_t box[3] = {};
  bool swizzle_128 = true;  // 16-byte pieces of 128 bytes change places with the row
};

void tma_load_2d(uint32_t to, const TensorMap* map, int x, int y, uint32_t bar,
                 std::source_location place = std::source_location::current());
void tma_load_3d(uint32_t to, const TensorMap* map, int x, int y, int z, uint32_t bar,
                 std::source_location place = std::source_location::current());

namespace emulator {

// A copy on its way. The map is a copy: kernel parameters die with their fiber.
struct TmaCopy {
  uint32_t to;
  TensorMap map;
  int at[3];
  uint32_t mbarrier;
  std::source_location place;
};

// Lets the copy of this index among the current block's arrive.
void run_tma_copy(uint32_t index);

// Address bits 4 to 6 are XORed with bits 7 to 9.
constexpr uint32_t swizzle_128(uint32_t address) { return address ^ ((address >> 7 & 7) << 4); }

}  // namespace emulator
}  // namespace block_attention::cuda
