// Which kernel computes which tiles. Each element type is compiled in a file of its own.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cuda/attention_tile_list.hpp"
#include "cuda/attention_tiles.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda {

enum class AttentionKernel : uint8_t {
  kMma,    // tensor cores: attention_mma.cuh
  kPlain,  // one warp per row, for tests and benchmarks: attention_plain.cuh
};

// The largest head_dim of any kernel, and the largest group of query heads.
inline constexpr int32_t kMaxHeadDim = 256;
inline constexpr int32_t kMaxGroup = 32;

// Rows of the tiles for a head_dim that the kernels take.
TileRows attention_tile_rows(int32_t head_dim);

// How many tiles of either kind there are.
struct TileCounts {
  int32_t few = 0;
  int32_t many = 0;
};

// `few` and `many` differ in their tiles alone.
struct AttentionLaunch {
  AttentionArguments arguments;
  const AttentionTile* few;
  const AttentionTile* many;
  TileCounts counts;
  int32_t merged;
};

// Attention of a step over one layer. q and out have the pages' type.
void launch_attention(Device& device, DType dtype, AttentionKernel kernel,
                      const AttentionLaunch& launch);
void launch_attention_bf16(Device& device, AttentionKernel kernel, const AttentionLaunch& launch);
void launch_attention_f16(Device& device, AttentionKernel kernel, const AttentionLaunch& launch);

}  // namespace block_attention::cuda
