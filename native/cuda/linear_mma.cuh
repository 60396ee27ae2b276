// The matrix product of our own: out[M, N] = x[M, K] W[N, K]^T + bias on the tensor cores of sm_80
// and later (mma.sync m16n8k16, float32 sums).
//
// Bits. An output element is one chain of m16n8k16 products over K in ascending steps of 16, kept
// in one accumulator: no split of K, no atomics, nothing that another row or column has a part in.
// The tile says only which elements a block computes side by side and how many steps it loads at a
// time, so every tile gives the same bits (past the end of K it adds products of zeros, which
// change nothing).
//
// Pipeline. A ring of kStages slots in shared memory is filled by cp.async, kStages - 1 slots ahead
// of the one that is multiplied; a step's fragments are fetched by ldmatrix while the step before
// is multiplied, across slots too. One barrier per slot. 16-byte chunks are stored at places that
// differ by row (chunk_offset), so that neither copies nor ldmatrix meet a bank twice.
#pragma once

#include <cstdint>

#include "cuda/chunk_offset.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

struct LinearArguments {
  const void* x;
  const void* weight;
  const float* bias;  // or null
  void* out;
  int64_t x_stride;  // elements
  int64_t out_stride;
  int32_t rows;
  int32_t out_features;
  int32_t in_features;
  int32_t row_tiles;
  bool pairs;  // two neighbouring outputs from an even column on may be stored at once
};

// Blocks that follow each other in the launch share a tile of W, and a group of them the same x, so
// that x of this many tiles of rows stays in the L2 cache while W passes by.
inline constexpr uint32_t kRowTilesPerGroup = 32;

template <int kTileRows, int kTileCols, int kTileDepth, int kRowWarps, int kColWarps,
          int kRingStages, int kResidentBlocks>
struct LinearTile {
  static constexpr int kRows = kTileRows;
  static constexpr int kCols = kTileCols;
  static constexpr int kDepth = kTileDepth;
  static constexpr int kStages = kRingStages;
  static constexpr int kResident = kResidentBlocks;  // blocks per multiprocessor to keep room for
  static constexpr int kThreads = kRowWarps * kColWarps * 32;
  static constexpr int kWarpRows = kRows / kRowWarps;
  static constexpr int kWarpCols = kCols / kColWarps;
  static constexpr int kWarpsAcross = kColWarps;
  static constexpr int kSteps = kDepth / 16;
  static constexpr int kChunks = kDepth / 8;            // of 16 bytes in a row of a slot
  static constexpr int kLoadRows = kThreads / kChunks;  // rows that all threads load at once
  static constexpr uint32_t kXBytes = kRows * kDepth * 2;
  static constexpr uint32_t kStageBytes = kXBytes + kCols * kDepth * 2;
  static constexpr uint32_t kSharedBytes = kStages * kStageBytes;

  static_assert(kWarpRows % 16 == 0 && kWarpCols % 16 == 0 && kSteps % 2 == 0);
  static_assert(kRows % kLoadRows == 0 && kCols % kLoadRows == 0 && kThreads % kChunks == 0);
  static_assert(kSharedBytes <= 99 * 1024, "the least that cards since sm_80 give a block");
};

// The part of one thread in copying tiles of `kTileRows` rows of a matrix into slots of the ring.
template <typename Tile, int kTileRows>
struct TileLoader {
  const char* from;  // this thread's chunk of its first row
  int64_t row_bytes;
  uint32_t valid_rows;  // bit j: the j-th row of this thread exists
  int row;
  int chunk;

  static constexpr int kLoads = kTileRows / Tile::kLoadRows;
  static_assert(kLoads <= 32);

  DEVICE_FN static TileLoader make(const void* matrix, int64_t stride, int first_row, int rows) {
    TileLoader loader;
    loader.row = static_cast<int>(threadIdx.x) / Tile::kChunks;
    loader.chunk = static_cast<int>(threadIdx.x) % Tile::kChunks;
    loader.row_bytes = stride * 2;
    loader.from = static_cast<const char*>(matrix) + (first_row + loader.row) * loader.row_bytes +
                  loader.chunk * 16;
    loader.valid_rows = 0;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const bool valid = first_row + loader.row + j * Tile::kLoadRows < rows;
      loader.valid_rows |= valid ? 1u << j : 0u;
    }
    return loader;
  }

  // Columns from `first` on, of `depth`.
  DEVICE_FN void load(uint32_t to, int first, int depth) const {
    const bool valid = first + chunk * 8 < depth;
    const char* source = from + int64_t{first} * 2;
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      cp_async16(to + chunk_offset<Tile::kChunks>(row + j * Tile::kLoadRows, chunk),
                 source + j * Tile::kLoadRows * row_bytes, valid && (valid_rows >> j & 1u) != 0);
    }
  }
};

// What a warp multiplies in one step of 16.
template <typename Tile>
struct Fragments {
  uint32_t x[Tile::kWarpRows / 16][4];
  uint32_t weight[Tile::kWarpCols / 16][4];

  // x_row and weight_row are this lane's rows of the first ldmatrix; see mma_m16n8k16 for which
  // lane holds what.
  DEVICE_FN void load(uint32_t slot, int step, int x_row, int weight_row, int lane) {
#pragma unroll
    for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
      ldmatrix_x4(x[i], slot + chunk_offset<Tile::kChunks>(x_row + i * 16, 2 * step + (lane >> 4)));
    }
#pragma unroll
    for (int j = 0; j < Tile::kWarpCols / 16; ++j) {
      ldmatrix_x4(weight[j],
                  slot + Tile::kXBytes +
                      chunk_offset<Tile::kChunks>(weight_row + j * 16, 2 * step + (lane >> 3 & 1)));
    }
  }
};

template <typename Out>
DEVICE_FN Out linear_result(float value) {
  if constexpr (is_element<Out>) {
    return narrow<Out>(value);
  } else {
    return value;
  }
}

template <typename Out>
DEVICE_FN void store_pair(Out* to, float low, float high, bool both, bool at_once) {
  if (both && at_once) {
    if constexpr (is_element<Out>) {
      stg(reinterpret_cast<uint32_t*>(to), pack<Out>(low, high));
    } else {
      stg(reinterpret_cast<F32x2*>(to), F32x2{{low, high}});
    }
    return;
  }
  stg(to, linear_result<Out>(low));
  if (both) stg(to + 1, linear_result<Out>(high));
}

// Grid: (tiles of rows in a group, tiles of columns, groups).
template <typename E, typename Out, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kResident)
    linear_mma_kernel(LinearArguments arguments) {
  const int row_tile = static_cast<int>(blockIdx.z * kRowTilesPerGroup + blockIdx.x);
  if (row_tile >= arguments.row_tiles) return;
  const int first_row = row_tile * Tile::kRows;
  const int first_col = static_cast<int>(blockIdx.y) * Tile::kCols;
  const int depth = arguments.in_features;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_row = warp / Tile::kWarpsAcross * Tile::kWarpRows;
  const int warp_col = warp % Tile::kWarpsAcross * Tile::kWarpCols;
  const int x_row = warp_row + (lane & 15);
  const int weight_row = warp_col + (lane & 7) + (lane >> 4) * 8;

  const auto x = TileLoader<Tile, Tile::kRows>::make(arguments.x, arguments.x_stride, first_row,
                                                     arguments.rows);
  const auto weight = TileLoader<Tile, Tile::kCols>::make(arguments.weight, depth, first_col,
                                                          arguments.out_features);
  const uint32_t ring = shared_base();
  const int tiles = (depth + Tile::kDepth - 1) / Tile::kDepth;
#pragma unroll
  for (int t = 0; t < Tile::kStages; ++t) {
    if (t < tiles) {
      const uint32_t slot = ring + static_cast<uint32_t>(t) * Tile::kStageBytes;
      x.load(slot, t * Tile::kDepth, depth);
      weight.load(slot + Tile::kXBytes, t * Tile::kDepth, depth);
    }
    cp_async_commit();
  }
  cp_async_wait<Tile::kStages - 1>();
  syncthreads();

  float sums[Tile::kWarpRows / 16][Tile::kWarpCols / 8][4] = {};
  // Named, not indexed: the compiler keeps an array whose index it cannot see through in memory.
  Fragments<Tile> even;
  Fragments<Tile> odd;
  const auto multiply = [&sums](const Fragments<Tile>& now) {
#pragma unroll
    for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
#pragma unroll
      for (int j = 0; j < Tile::kWarpCols / 16; ++j) {
        mma_m16n8k16<E>(sums[i][2 * j], now.x[i], now.weight[j][0], now.weight[j][1]);
        mma_m16n8k16<E>(sums[i][2 * j + 1], now.x[i], now.weight[j][2], now.weight[j][3]);
      }
    }
  };
  even.load(ring, 0, x_row, weight_row, lane);
  uint32_t slot = ring;
  for (int t = 0; t < tiles; ++t) {
    uint32_t next = slot + Tile::kStageBytes;
    if (next == ring + Tile::kSharedBytes) next = ring;
#pragma unroll
    for (int step = 0; step < Tile::kSteps; step += 2) {
      odd.load(slot, step + 1, x_row, weight_row, lane);
      multiply(even);
      if (step + 2 < Tile::kSteps) {
        even.load(slot, step + 2, x_row, weight_row, lane);
      } else {
        // The next slot has arrived for everyone, and nobody reads this one any more.
        cp_async_wait<Tile::kStages - 2>();
        syncthreads();
        if (t + Tile::kStages < tiles) {
          const int first = (t + Tile::kStages) * Tile::kDepth;
          x.load(slot, first, depth);
          weight.load(slot + Tile::kXBytes, first, depth);
        }
        cp_async_commit();
        if (t + 1 < tiles) even.load(next, 0, x_row, weight_row, lane);
      }
      multiply(odd);
    }
    slot = next;
  }

#pragma unroll
  for (int j = 0; j < Tile::kWarpCols / 8; ++j) {
    const int col = first_col + warp_col + j * 8 + lane % 4 * 2;
    const bool both = col + 1 < arguments.out_features;
    if (col >= arguments.out_features) continue;
    float low = 0;
    float high = 0;
    if (arguments.bias != nullptr) {
      low = ldg(arguments.bias + col);
      if (both) high = ldg(arguments.bias + col + 1);
    }
#pragma unroll
    for (int i = 0; i < Tile::kWarpRows / 16; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = first_row + warp_row + i * 16 + half * 8 + lane / 4;
        if (row >= arguments.rows) continue;
        store_pair(static_cast<Out*>(arguments.out) + row * arguments.out_stride + col,
                   sums[i][j][2 * half] + low, sums[i][j][2 * half + 1] + high, both,
                   arguments.pairs);
      }
    }
  }
}

// One thread per output element. Grid: (rows, 128 columns each).
template <typename E, typename Out>
__global__ void __launch_bounds__(128) linear_plain_kernel(LinearArguments arguments) {
  const int64_t row = blockIdx.x;
  const int64_t col = int64_t{blockIdx.y} * 128 + threadIdx.x;
  if (col >= arguments.out_features) return;
  const E* x = static_cast<const E*>(arguments.x) + row * arguments.x_stride;
  const E* weight = static_cast<const E*>(arguments.weight) + col * arguments.in_features;
  float sum = 0;
  for (int k = 0; k < arguments.in_features; ++k) {
    sum = fmaf(widen(ldg(x + k)), widen(ldg(weight + k)), sum);
  }
  if (arguments.bias != nullptr) sum += ldg(arguments.bias + col);
  stg(static_cast<Out*>(arguments.out) + row * arguments.out_stride + col, linear_result<Out>(sum));
}

}  // namespace block_attention::cuda
