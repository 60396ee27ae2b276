// How keys and values come to shared memory by bulk copies of sm_90 (TMA): the pool is a matrix of
// rows of head_dim elements, and a box of it is 64 dims of a page's 16 keys.
#pragma once

#include "cuda/attention_keys.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/chunk_offset.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

inline constexpr int kBoxDims = 64;
inline constexpr uint32_t kBoxBytes = kPageTokens * kBoxDims * 2;

// For one warp.
template <typename Shape>
struct KeyBoxes {
  const TensorMap* map;
  int first_row;  // of the matrix: slot 0 of page 0's keys of this layer and head
  int page_rows;
  int kv_head;

  static constexpr int kPages = Shape::kKeys / kPageTokens;
  static constexpr int kPanels = Shape::kDim / kBoxDims;

  DEVICE_FN static KeyBoxes begin(const AttentionArguments& arguments, int kv_head,
                                  const TensorMap* map) {
    const KvView& kv = arguments.kv;
    const int row_bytes = arguments.head_dim * 2;
    KeyBoxes boxes;
    boxes.map = map;
    // Less than 2^31: rows of 64 dims would be 256 GB.
    boxes.first_row =
        static_cast<int>((arguments.layer * kv.layer_bytes + kv_head * kv.head_bytes) / row_bytes);
    boxes.page_rows = static_cast<int>(kv.page_bytes / row_bytes);
    boxes.kv_head = kv_head;
    return boxes;
  }

  // Puts the keys or values of a step on their way to `slot`; the phase of the barrier `full`,
  // which counts one arrival, ends when they are there. Behind the last key there are zeros among
  // the values, since 0 x NaN would be NaN, and among the keys what the page holds there, or zeros
  // where there is no page.
  DEVICE_FN void load(const AttentionArguments& arguments, const KeyWalk<Shape::kKeys>& walk,
                      bool values, uint32_t slot, uint32_t full) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int page = walk.lane_page();
    const int keys = smaller(walk.length - walk.key, Shape::kKeys);
    const int pages = values ? keys / kPageTokens : (keys + kPageTokens - 1) / kPageTokens;
    if (pages < kPages) {
      const int64_t last_page = shfl(page, smaller(pages, kPages - 1));
      copy_tail(arguments, last_page, keys, pages * kPageTokens, slot);
    }
    if (lane == 0) {
      mbar_expect_tx(full, static_cast<uint32_t>(pages * kPanels) * kBoxBytes);
    }
    syncwarp();
    if (lane >= pages) return;
    const int row = first_row + page * page_rows + (values ? kPageTokens : 0);
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      tma_load_2d(
          slot + static_cast<uint32_t>(panel * Shape::kKeys * 128 + lane * kPageTokens * 128), map,
          panel * kBoxDims, row, full);
    }
  }

 private:
  // Rows of the slot from `first` on: values of `page` up to row `keys`, then zeros.
  DEVICE_FN void copy_tail(const AttentionArguments& arguments, int64_t page, int keys, int first,
                           uint32_t slot) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const char* from = arguments.kv.v(static_cast<PageId>(page), arguments.layer, kv_head);
    for (int i = lane; i < (Shape::kKeys - first) * Shape::kChunks; i += 32) {
      const int row = first + i / Shape::kChunks;
      const int chunk = i % Shape::kChunks;
      cp_async16(slot + panel_offset<Shape::kKeys>(row, chunk),
                 from + (row % kPageTokens * arguments.head_dim + chunk * 8) * 2,
                 row < keys && chunk * 8 < arguments.head_dim);
    }
    cp_async_commit();
    cp_async_wait<0>();
    fence_proxy_async();
    // Lane 0 arrives for all.
    syncwarp();
  }
};

}  // namespace block_attention::cuda
