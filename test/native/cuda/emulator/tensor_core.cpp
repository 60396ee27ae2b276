#include "emulator/tensor_core.hpp"

#include <bit>
#include <cstring>
#include <memory>

#include "core/dtype.hpp"
#include "emulator/collective.hpp"

namespace block_attention::cuda::emulator {
namespace {

struct LoadArguments {
  uint32_t* r;
  uint32_t address;
};

struct MultiplyArguments {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

// f16 to float by lookup: the conversion has branches.
const std::array<float, 65536>& f16_values() {
  static const auto values = [] {
    auto all = std::make_unique<std::array<float, 65536>>();
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      (*all)[bits] = f16_to_f32(static_cast<uint16_t>(bits));
    }
    return all;
  }();
  return *values;
}

// Eight rows of 16 bytes are read at once if they lie in different sixteenths of 128 bytes.
uint64_t bank_conflicts(Warp& warp, uint32_t matrix) {
  uint32_t used = 0;
  for (uint32_t row = 0; row < 8; ++row) {
    used |= 1u << (argument_of<LoadArguments>(warp, matrix * 8 + row).address / 16 % 8);
  }
  return 8 - static_cast<uint64_t>(std::popcount(used));
}

// Columns 2 t and 2 t + 1 of two rows lie in a word of lane 4 g + t, at row g and g + 8.
template <typename Widen>
void multiply_warp(Warp& warp, Widen&& widen) {
  float a[16][16];
  double b[16][8];
  double sums[16][8];
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    const auto& part = argument_of<MultiplyArguments>(warp, lane);
    const uint32_t g = lane / 4;
    const uint32_t t = lane % 4 * 2;
    for (uint32_t r = 0; r < 4; ++r) {
      float* at = &a[g + (r & 1) * 8][t + (r >> 1) * 8];
      at[0] = widen(static_cast<uint16_t>(part.a[r]));
      at[1] = widen(static_cast<uint16_t>(part.a[r] >> 16));
      sums[g + (r >> 1) * 8][t + (r & 1)] = double{part.d[r]};
    }
    for (uint32_t r = 0; r < 2; ++r) {
      b[t + r * 8][g] = double{widen(static_cast<uint16_t>(part.b[r]))};
      b[t + r * 8 + 1][g] = double{widen(static_cast<uint16_t>(part.b[r] >> 16))};
    }
  }
  for (uint32_t i = 0; i < 16; ++i) {
    for (uint32_t k = 0; k < 16; ++k) {
      const double factor = double{a[i][k]};
      for (uint32_t j = 0; j < 8; ++j) sums[i][j] += factor * b[k][j];
    }
  }
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    auto& part = argument_of<MultiplyArguments>(warp, lane);
    for (uint32_t r = 0; r < 4; ++r) {
      part.d[r] = static_cast<float>(sums[lane / 4 + (r >> 1) * 8][lane % 4 * 2 + (r & 1)]);
    }
  }
}

}  // namespace

float element_value(uint16_t bits, bool bf16) {
  return bf16 ? bf16_to_f32(bits) : f16_values()[bits];
}

void load_matrices(uint32_t (&r)[4], uint32_t address, bool transposed,
                   const std::source_location& place) {
  const char* operation = transposed ? "ldmatrix_x4_trans" : "ldmatrix_x4";
  current_block->shared.read(operation, address, 16, 16, place);
  LoadArguments arguments = {r, address};
  collective(operation, arguments, place, [&](Warp& warp) {
    for (uint32_t matrix = 0; matrix < 4; ++matrix) {
      statistics().ldmatrix_bank_conflicts += bank_conflicts(warp, matrix);
      uint16_t rows[8][8];
      for (uint32_t row = 0; row < 8; ++row) {
        const uint32_t from = argument_of<LoadArguments>(warp, matrix * 8 + row).address;
        std::memcpy(rows[row], current_block->shared.at(from), 16);
      }
      for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
        const uint32_t g = lane / 4;
        const uint32_t t = lane % 4 * 2;
        const uint16_t low = transposed ? rows[t][g] : rows[g][t];
        const uint16_t high = transposed ? rows[t + 1][g] : rows[g][t + 1];
        argument_of<LoadArguments>(warp, lane).r[matrix] = low | uint32_t{high} << 16;
      }
    }
  });
}

void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16,
              const std::source_location& place) {
  MultiplyArguments arguments = {d, a, {b0, b1}};
  collective(bf16 ? "mma_m16n8k16 of bf16" : "mma_m16n8k16 of f16", arguments, place,
             [&](Warp& warp) {
               if (bf16) {
                 multiply_warp(warp, [](uint16_t bits) { return bf16_to_f32(bits); });
               } else {
                 const std::array<float, 65536>& values = f16_values();
                 multiply_warp(warp, [&](uint16_t bits) { return values[bits]; });
               }
             });
}

}  // namespace block_attention::cuda::emulator
