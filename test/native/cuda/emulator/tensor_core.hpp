// ldmatrix and mma.sync. Products are exact, sums are those of float64 rounded once: closer than a
// tensor core, whose order of summation nobody promises.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <type_traits>

#include "cuda/primitives.cuh"

namespace block_attention::cuda {
namespace emulator {

void load_matrices(uint32_t (&r)[4], uint32_t address, bool transposed,
                   const std::source_location& place);
void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16,
              const std::source_location& place);
// A 16-bit element of a tensor core's operand.
float element_value(uint16_t bits, bool bf16);

}  // namespace emulator

inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t address,
                        std::source_location place = std::source_location::current()) {
  emulator::load_matrices(r, address, false, place);
}

inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address,
                              std::source_location place = std::source_location::current()) {
  emulator::load_matrices(r, address, true, place);
}

template <typename E>
void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  std::source_location place = std::source_location::current()) {
  static_assert(is_element<E>);
  emulator::multiply(d, a, b0, b1, std::is_same_v<E, Bf16>, place);
}

}  // namespace block_attention::cuda
