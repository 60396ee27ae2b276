// Warpgroup products of sm_90a. They happen as late as they may, when they are waited for; until
// then their accumulators hold poison and nobody may write their operands.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <type_traits>
#include <vector>

#include "cuda/primitives.cuh"

namespace block_attention::cuda {
namespace emulator {

class Block;

inline constexpr uint32_t kMaxProductCols = 128;
inline constexpr uint32_t kProductDepth = 16;

// One warp's part of a product: rows 16 (warp % 4) to 16 (warp % 4) + 15.
struct WarpgroupProduct {
  bool bf16;
  bool accumulate;
  bool transposed_b;
  bool registers_a;
  uint32_t cols;  // 64 or 128: a lane holds half as many accumulators
  uint64_t descriptor_a;
  uint64_t descriptor_b;
  std::array<float*, 32> d;                                       // per lane
  std::array<std::array<float, kMaxProductCols / 2>, 32> before;  // what d held
  std::array<std::array<uint32_t, 4>, 32> a;
  std::source_location place;
};

// Without its operands.
struct ProductKind {
  uint32_t cols;
  bool bf16;
  bool transposed_b;
  bool accumulate;
};
void issue_product(const ProductKind& kind, float* d, const uint32_t* a, uint64_t descriptor_a,
                   uint64_t descriptor_b, const std::source_location& place);
void fence_registers(const std::source_location& place);
void wait_for_products(size_t pending_groups, const std::source_location& place);
// Throws KernelFailure if products are in flight, or the warps of a group disagree.
void check_warpgroups_at_end(Block& block);

}  // namespace emulator

void fence_proxy_async(std::source_location place = std::source_location::current());
template <int kCount>
void wgmma_fence(float (&)[kCount], std::source_location place = std::source_location::current()) {
  emulator::fence_registers(place);
}
void wgmma_commit(std::source_location place = std::source_location::current());

template <int kPending, int kCount>
void wgmma_wait(float (&)[kCount], std::source_location place = std::source_location::current()) {
  emulator::wait_for_products(kPending, place);
}

inline uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_offset,
                                 uint32_t stride_offset) {
  return uint64_t{(address & 0x3ffffu) >> 4} | uint64_t{leading_offset >> 4} << 16 |
         uint64_t{stride_offset >> 4} << 32 | uint64_t{1} << 62;
}

template <typename E, int kTransB, int kCols>
void wgmma_m64k16(float (&d)[kCols / 2], uint64_t a, uint64_t b, bool accumulate,
                  std::source_location place = std::source_location::current()) {
  static_assert(is_element<E> && (kCols == 64 || kCols == 128));
  emulator::issue_product({kCols, std::is_same_v<E, Bf16>, kTransB != 0, accumulate}, d, nullptr, a,
                          b, place);
}

template <typename E, int kTransB, int kCols>
void wgmma_m64k16(float (&d)[kCols / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                  std::source_location place = std::source_location::current()) {
  static_assert(is_element<E> && (kCols == 64 || kCols == 128));
  emulator::issue_product({kCols, std::is_same_v<E, Bf16>, kTransB != 0, accumulate}, d, a, 0, b,
                          place);
}

template <int kRegisters>
void setmaxnreg_inc() {}
template <int kRegisters>
void setmaxnreg_dec() {}

}  // namespace block_attention::cuda
