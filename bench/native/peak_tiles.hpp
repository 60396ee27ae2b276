// The rates of multiply-adds on tiles (AMX): what PeakProducts holds of them.
#pragma once

#if defined(__x86_64__)

#include <cstdint>

#include "cpu/amx_tiles.hpp"

namespace block_attention {

// A round is four products of two tiles by two, which are loaded from the first-level cache.
inline constexpr double kTileProducts = 4;
inline constexpr double kTileSums = amx::kTileRows * amx::kTileRows;
inline constexpr double kBf16TileFlops = 2 * kTileProducts * kTileSums * (amx::kRowBytes / 2);
// An activation is two bytes (Int8Dot::kAmx), so that each multiply-add takes two of the tiles'.
inline constexpr double kInt8TileFlops = 2 * kTileProducts * kTileSums * amx::kRowBytes / 2;

// Only for Isa::kAmxBf16.
float run_bf16_tiles(int64_t rounds);
// Only where best_int8_dot() is Int8Dot::kAmx.
float run_int8_tiles(int64_t rounds);

}  // namespace block_attention

#endif
