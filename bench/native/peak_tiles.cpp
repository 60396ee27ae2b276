#include "peak_tiles.hpp"

#if defined(__x86_64__)

#include <utility>

namespace block_attention {
namespace {

template <int... kTiles>
void zero_all(std::integer_sequence<int, kTiles...>) {
  (amx::zero<kTiles>(), ...);
}

// `multiply` adds to tiles 0 to 3, which hide the latency of a product.
template <typename Multiply>
float run_tiles(int64_t rounds, Multiply multiply) {
  // Of this thread, as tiles are.
  const amx::Tiles tiles;
  zero_all(std::make_integer_sequence<int, 8>());
  for (int64_t round = 0; round < rounds; ++round) multiply();
  return 0;
}

}  // namespace

float run_bf16_tiles(int64_t rounds) {
  return run_tiles(rounds, [] {
    amx::multiply_bf16<0, 4, 6>();
    amx::multiply_bf16<1, 4, 7>();
    amx::multiply_bf16<2, 5, 6>();
    amx::multiply_bf16<3, 5, 7>();
  });
}

float run_int8_tiles(int64_t rounds) {
  return run_tiles(rounds, [] {
    amx::multiply_int8<0, 4, 6>();
    amx::multiply_int8<1, 4, 7>();
    amx::multiply_int8<2, 5, 6>();
    amx::multiply_int8<3, 5, 7>();
  });
}

}  // namespace block_attention

#endif
