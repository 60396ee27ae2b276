// Which kernel computes which tiles. Each element type is compiled in a file of its own.
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "cuda/attention_tile_list.hpp"
#include "cuda/attention_tiles.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda {

// kMma is what engines use. kWgmma takes its place on Hopper when it has been seen to be right and
// faster on a card; so far it ran in the emulation alone.
enum class AttentionKernel : uint8_t {
  kMma,    // tensor cores since sm_80: attention_mma.cuh
  kWgmma,  // tensor cores of Hopper: attention_wgmma.cuh; few rows by attention_mma.cuh
  kPlain,  // one warp per row, for tests and benchmarks: attention_plain.cuh
};

// The largest head_dim of any kernel, and the largest group of query heads.
inline constexpr int32_t kMaxHeadDim = 256;
inline constexpr int32_t kMaxGroup = 32;

// Whether a device has what the kernel needs for a head_dim that the others take, too. kWgmma and
// kMma give the same bits.
bool has_attention_kernel(const DeviceProperties& device, AttentionKernel kernel, int32_t head_dim);

// kMma, or what the environment variable BLOCK_ATTENTION_CUDA_ATTENTION names: mma or wgmma. Throws
// Error(kUnsupported) for another value, and for a kernel that the device does not have.
AttentionKernel chosen_attention_kernel(const DeviceProperties& device, int32_t head_dim);

// Rows of the tiles.
TileRows attention_tile_rows(AttentionKernel kernel, int32_t head_dim);

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
  int64_t pool_rows;  // keys and values, each a row of head_dim, in all pages
};

// Attention of a step over one layer. q and out have the pages' type.
void launch_attention(Device& device, DType dtype, AttentionKernel kernel,
                      const AttentionLaunch& launch);
void launch_attention_bf16(Device& device, AttentionKernel kernel, const AttentionLaunch& launch);
void launch_attention_f16(Device& device, AttentionKernel kernel, const AttentionLaunch& launch);

}  // namespace block_attention::cuda
