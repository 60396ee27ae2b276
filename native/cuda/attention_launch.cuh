// launch_attention for one element type, and the table of tile shapes.
#pragma once

#include "cuda/attention_launch.hpp"
#include "cuda/attention_merge.cuh"
#include "cuda/attention_mma.cuh"
#include "cuda/attention_plain.cuh"
#include "cuda/launch.cuh"

namespace block_attention::cuda {

// Tiles for many rows: two blocks of four warps per multiprocessor already on an A100 (164 KiB of
// shared memory), three for small heads; each covers the other's barriers. For few rows (decoding)
// one warp has a tile to itself: it computes faster than memory delivers, and what counts is the
// bytes on their way, 64 KiB or more per multiprocessor. A head of 256 leaves room for two warps,
// and registers for the scores of 16 keys at a time.
//                                               dim, warps, slots, blocks
template <bool kFew, int kDim>
struct AttentionMmaTable;
template <>
struct AttentionMmaTable<true, 64> : AttentionMmaShape<64, 1, 4, 4> {};
template <>
struct AttentionMmaTable<false, 64> : AttentionMmaShape<64, 4, 3, 3> {};
template <>
struct AttentionMmaTable<true, 128> : AttentionMmaShape<128, 1, 3, 2> {};
template <>
struct AttentionMmaTable<false, 128> : AttentionMmaShape<128, 4, 2, 2> {};
template <>
struct AttentionMmaTable<true, 256> : AttentionMmaShape<256, 1, 6, 1> {};
template <>
struct AttentionMmaTable<false, 256> : AttentionMmaShape<256, 2, 6, 1> {};

// Calls body.operator()<kDim>() with the padded head_dim.
template <typename Body>
void with_padded_dim(int32_t head_dim, Body body) {
  if (head_dim <= 64) return body.template operator()<64>();
  if (head_dim <= 128) return body.template operator()<128>();
  return body.template operator()<256>();
}

template <typename E, bool kFew>
void launch_mma_tiles(Device& device, AttentionArguments arguments, const AttentionTile* tiles,
                      int32_t count) {
  arguments.tiles = tiles;
  with_padded_dim(arguments.head_dim, [&]<int kDim>() {
    using Shape = AttentionMmaTable<kFew, kDim>;
    launch<attention_mma_kernel<E, Shape>>(
        device,
        {.grid = {static_cast<uint32_t>(count) * static_cast<uint32_t>(arguments.kv_heads)},
         .threads = Shape::kThreads,
         .shared_bytes = Shape::kSharedBytes},
        arguments);
  });
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
  if (kernel == AttentionKernel::kMma) {
    launch_mma_tiles<E, false>(device, step.arguments, step.many, step.counts.many);
    launch_mma_tiles<E, true>(device, step.arguments, step.few, step.counts.few);
  } else {
    launch_plain_tiles<E>(device, step.arguments, step.many, step.counts.many);
    launch_plain_tiles<E>(device, step.arguments, step.few, step.counts.few);
  }
  launch_merge<E>(device, step.arguments, step.merged);
}

}  // namespace block_attention::cuda
