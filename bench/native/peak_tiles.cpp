#include "peak_tiles.hpp"

#if defined(__x86_64__)

#include <array>

namespace block_attention {
namespace {

// Tiles of either side, in turns: what the first-level cache holds beside other things.
constexpr int64_t kTilesInTurn = 4;

// Products of tiles that are all zero, or that are loaded once, are a third faster than any product
// of matrices can be (measured; the clock is the same).
class Operands {
 public:
  Operands() {
    uint32_t state = 1;
    for (uint16_t& value : values_) {
      state = state * 1664525 + 1013904223;
      // As bf16 between 1 and 2, of either sign.
      value = static_cast<uint16_t>((state >> 16 & 0x807f) | 0x3f80);
    }
  }

  // Of side 0 or 1, two tiles for every round.
  const uint8_t* tiles(int64_t side, int64_t round) const {
    const int64_t tile = (side * kTilesInTurn + round % (kTilesInTurn / 2) * 2);
    return reinterpret_cast<const uint8_t*>(values_.data()) + tile * amx::kTileBytes;
  }

 private:
  alignas(64) std::array<uint16_t, 2 * kTilesInTurn * amx::kTileBytes / 2> values_;
};

// multiply(first, second) adds to tiles 0 to 3, which hide the latency of a product.
template <typename Multiply>
float run_tiles(int64_t rounds, Multiply multiply) {
  const Operands operands;
  // Of this thread, as tiles are.
  const amx::Tiles tiles;
  amx::zero<0>();
  amx::zero<1>();
  amx::zero<2>();
  amx::zero<3>();
  for (int64_t round = 0; round < rounds; ++round)
    multiply(operands.tiles(0, round), operands.tiles(1, round));
  return 0;
}

}  // namespace

float run_bf16_tiles(int64_t rounds) {
  return run_tiles(rounds, [](const uint8_t* x, const uint8_t* weights) {
    amx::load<6>(weights);
    amx::load<7>(weights + amx::kTileBytes);
    amx::load<4>(x);
    amx::multiply_bf16<0, 4, 6>();
    amx::multiply_bf16<1, 4, 7>();
    amx::load<5>(x + amx::kTileBytes);
    amx::multiply_bf16<2, 5, 6>();
    amx::multiply_bf16<3, 5, 7>();
  });
}

float run_int8_tiles(int64_t rounds) {
  return run_tiles(rounds, [](const uint8_t* x, const uint8_t* weights) {
    amx::load<6>(weights);
    amx::load<7>(weights + amx::kTileBytes);
    amx::load<4>(x);
    amx::multiply_int8<0, 4, 6>();
    amx::multiply_int8<1, 4, 7>();
    amx::load<5>(x + amx::kTileBytes);
    amx::multiply_int8<2, 5, 6>();
    amx::multiply_int8<3, 5, 7>();
  });
}

}  // namespace block_attention

#endif
