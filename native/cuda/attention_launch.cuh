// launch_attention for one element type, and the table of tile shapes.
#pragma once

#include "cuda/attention_launch.hpp"
#include "cuda/attention_merge.cuh"
#include "cuda/attention_mma.cuh"
#include "cuda/attention_plain.cuh"
#include "cuda/attention_wgmma.cuh"
#include "cuda/launch.cuh"
#include "cuda/tensor_map.cuh"

namespace block_attention::cuda {

// Tiles for many rows: two blocks of four warps per multiprocessor already on an A100 (164 KiB of
// shared memory; for small heads it is registers that a third would lack), each of which covers the
// other's barriers. For few rows (decoding) one warp has a tile to itself. A step of it takes its
// time (products that wait for each other: 9000 cycles on an H200), so rings are short, which
// leaves room for five such blocks per multiprocessor of Hopper, with 64 KiB or more on their way.
// A head of 256 leaves room for two warps, and registers for the scores of 16 keys at a time.
//                                               dim, warps, slots, blocks
template <bool kFew, int kDim>
struct AttentionMmaTable;
template <>
struct AttentionMmaTable<true, 64> : AttentionMmaShape<64, 1, 3, 4> {};
template <>
struct AttentionMmaTable<false, 64> : AttentionMmaShape<64, 4, 3, 2> {};
template <>
struct AttentionMmaTable<true, 128> : AttentionMmaShape<128, 1, 2, 4> {};
template <>
struct AttentionMmaTable<false, 128> : AttentionMmaShape<128, 4, 2, 2> {};
template <>
struct AttentionMmaTable<true, 256> : AttentionMmaShape<256, 1, 6, 1> {};
template <>
struct AttentionMmaTable<false, 256> : AttentionMmaShape<256, 2, 6, 1> {};

// Few rows on Hopper: bulk copies leave the warp to its products.
template <int kDim>
struct AttentionBulkMmaTable;
template <>
struct AttentionBulkMmaTable<64> : AttentionMmaShape<64, 1, 4, 4> {};
template <>
struct AttentionBulkMmaTable<128> : AttentionMmaShape<128, 1, 2, 5> {};

// Many rows on Hopper: one block per multiprocessor, whose two warpgroups share what arrives.
//                                    dim, warpgroups, slots, registers of producer and consumers
template <int kDim>
struct AttentionWgmmaTable;
template <>
struct AttentionWgmmaTable<64> : AttentionWgmmaShape<64, 2, 8, 40, 232> {};
template <>
struct AttentionWgmmaTable<128> : AttentionWgmmaShape<128, 2, 8, 40, 232> {};

// Calls body.operator()<kDim>() with the padded head_dim.
template <typename Body>
void with_padded_dim(int32_t head_dim, Body body) {
  if (head_dim <= 64) return body.template operator()<64>();
  if (head_dim <= 128) return body.template operator()<128>();
  return body.template operator()<256>();
}

// A block for each tile and kv head.
template <typename Shape>
LaunchShape tile_grid(const AttentionArguments& arguments, int32_t tiles) {
  return {.grid = {static_cast<uint32_t>(tiles) * static_cast<uint32_t>(arguments.kv_heads)},
          .threads = Shape::kThreads,
          .shared_bytes = Shape::kSharedBytes};
}

template <typename E, bool kFew>
void launch_mma_tiles(Device& device, AttentionArguments arguments, const AttentionTile* tiles,
                      int32_t count) {
  arguments.tiles = tiles;
  with_padded_dim(arguments.head_dim, [&]<int kDim>() {
    using Shape = AttentionMmaTable<kFew, kDim>;
    static_assert(Shape::kSharedBytes <= 99 * 1024,
                  "the least that cards since sm_80 give a block");
    launch<attention_mma_kernel<E, Shape>>(device, tile_grid<Shape>(arguments, count), arguments);
  });
}

// The pool's keys and values as rows of head_dim.
inline TensorMap pool_map(const AttentionLaunch& step) {
  return matrix_map(step.arguments.kv.data, static_cast<uint64_t>(step.pool_rows),
                    static_cast<uint32_t>(step.arguments.head_dim), kPageTokens, kBoxDims);
}

template <typename E, int kDim>
void launch_bulk_tiles(Device& device, const AttentionLaunch& step, const TensorMap& keys) {
  using Shape = AttentionBulkMmaTable<kDim>;
  AttentionArguments arguments = step.arguments;
  arguments.tiles = step.few;
  launch<attention_bulk_mma_kernel<E, Shape>>(device, tile_grid<Shape>(arguments, step.counts.few),
                                              arguments, keys);
}

template <typename E, int kDim>
void launch_hopper_tiles(Device& device, const AttentionLaunch& step) {
  using Shape = AttentionWgmmaTable<kDim>;
  const TensorMap keys = pool_map(step);
  AttentionArguments arguments = step.arguments;
  arguments.tiles = step.many;
  launch<attention_wgmma_kernel<E, Shape>>(device, tile_grid<Shape>(arguments, step.counts.many),
                                           arguments, keys);
  launch_bulk_tiles<E, kDim>(device, step, keys);
}

template <typename E>
void launch_plain_tiles(Device& device, AttentionArguments arguments, const AttentionTile* tiles,
                        int32_t count) {
  arguments.tiles = tiles;
  launch<attention_plain_kernel<E>>(
      device,
      {.grid = {static_cast<uint32_t>(count) * static_cast<uint32_t>(arguments.kv_heads)},
       .threads = AttentionPlainShape::kThreads,
       .shared_bytes = AttentionPlainShape::kSharedBytes},
      arguments);
}

template <typename E>
void launch_merge(Device& device, const AttentionArguments& arguments, int32_t merged) {
  const int32_t heads = arguments.kv_heads * arguments.group;
  const LaunchShape shape = {
      .grid = {static_cast<uint32_t>(merged),
               static_cast<uint32_t>((heads + kMergeWarps - 1) / kMergeWarps)},
      .threads = kMergeThreads,
  };
  if (arguments.head_dim <= 128) {
    launch<attention_merge_kernel<E, 1>>(device, shape, arguments);
  } else {
    launch<attention_merge_kernel<E, 2>>(device, shape, arguments);
  }
}

template <typename E>
void launch_attention_of(Device& device, AttentionKernel kernel, const AttentionLaunch& step) {
  if (kernel == AttentionKernel::kWgmma) {
    if (step.arguments.head_dim <= 64) {
      launch_hopper_tiles<E, 64>(device, step);
    } else {
      launch_hopper_tiles<E, 128>(device, step);
    }
  } else if (kernel == AttentionKernel::kMma) {
    launch_mma_tiles<E, false>(device, step.arguments, step.many, step.counts.many);
    launch_mma_tiles<E, true>(device, step.arguments, step.few, step.counts.few);
  } else {
    launch_plain_tiles<E>(device, step.arguments, step.many, step.counts.many);
    launch_plain_tiles<E>(device, step.arguments, step.few, step.counts.few);
  }
  launch_merge<E>(device, step.arguments, step.merged);
}

}  // namespace block_attention::cuda
