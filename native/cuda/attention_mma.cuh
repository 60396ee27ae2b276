// Attention on the tensor cores of sm_80 and later (mma.sync m16n8k16, float32 sums).
//
// A block takes one tile: up to kRows rows, 16 per warp, and all keys that they see, in steps of
// kKeys. A loader brings keys and values of a step to a ring of slots (keys, values, keys, ...);
// one barrier per slot. Per step: scores = q k^T, online softmax, outputs += p v
// (attention_rows.cuh). The query is rotated once per segment, from the unrotated rows in global
// memory (which stay in L1 or L2: a copy in shared memory would cost a block per multiprocessor).
#pragma once

#include "cuda/attention_key_boxes.cuh"
#include "cuda/attention_keys.cuh"
#include "cuda/attention_ring.cuh"
#include "cuda/attention_rows.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/chunk_offset.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// kPaddedDim: head_dim rounded up; dims in between are zeros in shared memory.
template <int kPaddedDim, int kBlockWarps, int kRingSlots, int kResidentBlocks>
struct AttentionMmaShape {
  static constexpr int kDim = kPaddedDim;
  static constexpr int kWarps = kBlockWarps;
  static constexpr int kSlots = kRingSlots;
  static constexpr int kResident = kResidentBlocks;  // blocks per multiprocessor to keep room for
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kRows = kWarps * 16;
  // Part of the arithmetic, so the same for every number of warps.
  static constexpr int kKeys = attention_step_keys(kDim);
  static constexpr int kChunks = kDim / 8;  // of 16 bytes in a row
  static constexpr uint32_t kWarpQueryBytes = 16 * kDim * 2;
  static constexpr uint32_t kQueryBytes = kRows * kDim * 2;
  static constexpr uint32_t kJoinedBytes = kRows * kDim * 4;
  static constexpr uint32_t kSlotBytes = kKeys * kDim * 2;
  static constexpr uint32_t kRingBytes = kSlots * kSlotBytes;
  static constexpr uint32_t kBarrierBytes = kSlots * 8;  // of a ring that bulk copies fill
  static constexpr uint32_t kSharedBytes = kRingBytes + kQueryBytes + kJoinedBytes + kBarrierBytes;

  static_assert(kDim % 64 == 0 && kKeys % 16 == 0 && kSlots >= 2);
  static_assert(kThreads % kChunks == 0 && kKeys % (kThreads / kChunks) == 0);
};

// Fills the ring by cp.async: the keys of a step, then its values, then the next step.
template <typename Shape>
struct KeyCopies {
  KeyWalk<Shape::kKeys> walk;
  int kv_head;
  int page;     // of the step, this lane's (KeyWalk::lane_page)
  bool values;  // what comes next
  RingPlace<Shape> to;

  DEVICE_FN static KeyCopies begin(const AttentionArguments& arguments, const AttentionTile* tile,
                                   int kv_head, uint32_t ring) {
    KeyCopies loader;
    loader.walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
    loader.kv_head = kv_head;
    loader.values = false;
    loader.to = RingPlace<Shape>::begin(ring);
    loader.page = loader.walk.lane_page();
    return loader;
  }

  // Puts the next part on its way, as a group of its own (an empty one at the end).
  DEVICE_FN void load(const AttentionArguments& arguments, const AttentionTile* tile) {
    if (!walk.over()) {
      constexpr int kLoadRows = Shape::kThreads / Shape::kChunks;  // that all threads load at once
      const int first_row = static_cast<int>(threadIdx.x) / Shape::kChunks;
      const int chunk = static_cast<int>(threadIdx.x) % Shape::kChunks;
      const int row_bytes = arguments.head_dim * 2;
      const bool in_head = chunk * 8 < arguments.head_dim;
      const char* from = arguments.kv.k(0, arguments.layer, kv_head) +
                         (values ? arguments.kv.head_bytes / 2 : 0) + chunk * 16;
#pragma unroll 2
      for (int i = 0; i < Shape::kKeys / kLoadRows; ++i) {
        const int row = first_row + i * kLoadRows;
        const int64_t in_page = shfl(page, row / kPageTokens);
        // Slots after the last key hold anything, and 0 x NaN would be NaN.
        cp_async16(to.slot + panel_offset<Shape::kKeys>(row, chunk),
                   from + in_page * arguments.kv.page_bytes + row % kPageTokens * row_bytes,
                   in_head && walk.key + row < walk.length);
      }
      if (values) {
        walk.next(arguments, tile);
        page = walk.lane_page();
      }
      values = !values;
      to.advance();
    }
    cp_async_commit();
  }

  // Waits for the part at `from`, of which this thread's copies are then there.
  DEVICE_FN void await(const RingPlace<Shape>& /*from*/) { cp_async_wait<Shape::kSlots - 2>(); }
  DEVICE_FN void finish() { cp_async_wait<0>(); }
};

// The same by bulk copies of sm_90, which warp 0 asks for.
template <typename Shape>
struct KeyBulkCopies {
  KeyBoxes<Shape> boxes;
  KeyWalk<Shape::kKeys> walk;
  bool values;
  RingPlace<Shape> to;

  DEVICE_FN static KeyBulkCopies begin(const AttentionArguments& arguments,
                                       const AttentionTile* tile, int kv_head, uint32_t ring,
                                       const TensorMap* map) {
    KeyBulkCopies loader;
    loader.boxes = KeyBoxes<Shape>::begin(arguments, kv_head, map);
    loader.walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
    loader.values = false;
    loader.to = RingPlace<Shape>::begin(ring);
    return loader;
  }

  DEVICE_FN void load(const AttentionArguments& arguments, const AttentionTile* tile) {
    if (threadIdx.x >= 32 || walk.over()) return;
    boxes.load(arguments, walk, values, to.slot, barrier_of(to));
    if (values) walk.next(arguments, tile);
    values = !values;
    to.advance();
  }

  DEVICE_FN void await(const RingPlace<Shape>& from) { mbar_wait(barrier_of(from), from.turn); }
  DEVICE_FN void finish() {}

  DEVICE_FN static uint32_t barrier_of(const RingPlace<Shape>& place) {
    return place.ring + Shape::kSharedBytes - Shape::kBarrierBytes + place.index() * 8;
  }
};

template <typename E, typename Shape>
struct MmaRows : RowPair<E, Shape> {
  using Base = RowPair<E, Shape>;
  using Base::outputs;
  using Base::p;
  static constexpr int kDimSteps = Shape::kDim / 16;
  static constexpr int kKeySteps = Shape::kKeys / 16;
  static constexpr uint32_t kSixteenRows = 16 * 128;  // bytes of a panel

  bool active;       // else all rows of the warp are beyond the tile's
  uint32_t rotated;  // the warp's rows in shared memory
  // What this lane fetches by ldmatrix from the first two chunks of 16 rows: a first operand of mma
  // or, transposed, the values of 16 keys; the keys as a second operand.
  uint32_t row_offset;
  uint32_t key_offset;

  bool works;   // some row sees a key of the step
  bool ragged;  // some row sees none
  bool sees[2];

  DEVICE_FN void begin(const AttentionArguments& arguments, const AttentionTile* tile,
                       uint32_t queries, uint32_t joined) {
    Base::begin(arguments, tile, joined);
    const int lane = Base::lane;
    active = Base::first_row < ldg(&tile->tokens) * arguments.group;
    rotated = queries + static_cast<uint32_t>(Base::first_row / 16) * Shape::kWarpQueryBytes;
    row_offset = panel_offset<16>(lane & 15, lane >> 4);
    key_offset = panel_offset<16>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    Base::template clear_padding<16>(arguments, rotated, 0);
  }

  DEVICE_FN void enter_segment(const AttentionArguments& arguments, const AttentionTile* tile,
                               int kv_head, int rotation) {
    if (!active) return;
    // A block's barrier lies between the last look at the segment before and this.
    Base::template rotate<16, false>(arguments, tile, kv_head, rotation, rotated, 0);
    syncwarp();
  }

  // Scores and weights of a step; rescales what the cut has so far.
  DEVICE_FN void attend_keys(const AttentionArguments& arguments, const KeyWalk<Shape::kKeys>& walk,
                             uint32_t slot) {
    works = false;
    if (!active) return;
    const StepSight sight = Base::look(arguments, walk);
    works = ballot(sight.sees[0] || sight.sees[1]) != 0;
    if (!works) return;
    sees[0] = sight.sees[0];
    sees[1] = sight.sees[1];
    ragged = ballot(sees[0] && sees[1]) != 0xffffffffu;

    float scores[Shape::kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {
      uint32_t q[4];
      ldmatrix_x4(q, at_chunk_pair<16>(rotated + row_offset, k));
#pragma unroll
      for (int n = 0; n < kKeySteps; ++n) {
        uint32_t b[4];
        ldmatrix_x4(b, at_chunk_pair<Shape::kKeys>(slot + key_offset, k) + n * kSixteenRows);
        mma_m16n8k16<E>(scores[2 * n], q, b[0], b[1]);
        mma_m16n8k16<E>(scores[2 * n + 1], q, b[2], b[3]);
      }
    }
    Base::weigh(scores, sight);
  }

  DEVICE_FN void attend_values(uint32_t slot) {
    if (!works) return;
    if (ragged) {
      add_values<true>(slot);
    } else {
      add_values<false>(slot);
    }
  }

  template <bool kRagged>
  DEVICE_FN void add_values(uint32_t slot) {
    // So many fragments at a time: enough products that do not wait for each other.
    constexpr int kAtOnce = kRagged ? 2 : 4;
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; n += kAtOnce) {
      float before[kAtOnce][4];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) before[j][i] = outputs[n + j][i];
      }
#pragma unroll
      for (int k = 0; k < kKeySteps; ++k) {
#pragma unroll
        for (int j = 0; j < kAtOnce; j += 2) {
          uint32_t b[4];
          ldmatrix_x4_trans(
              b, at_chunk_pair<Shape::kKeys>(slot + row_offset, (n + j) / 2) + k * kSixteenRows);
          mma_m16n8k16<E>(outputs[n + j], p[k], b[0], b[1]);
          mma_m16n8k16<E>(outputs[n + j + 1], p[k], b[2], b[3]);
        }
      }
      if constexpr (kRagged) {
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) keep_unseeing(outputs[n + j], before[j], sees);
      }
    }
  }
};

template <typename E, typename Shape>
struct MmaTile {
  const AttentionTile* tile;
  int kv_head;
  uint32_t ring;  // queries and joined outputs follow it

  template <typename Loader>
  DEVICE_FN void attend(const AttentionArguments& arguments, Loader& loader) const {
#pragma unroll
    for (int i = 0; i + 1 < Shape::kSlots; ++i) loader.load(arguments, tile);
    const uint32_t queries = ring + Shape::kRingBytes;
    MmaRows<E, Shape> rows;
    rows.begin(arguments, tile, queries, queries + Shape::kQueryBytes);

    auto slot = RingPlace<Shape>::begin(ring);
    // The slot before the one that is read is free.
    const auto advance = [&] {
      loader.await(slot);
      syncthreads();
      loader.load(arguments, tile);
    };
    auto walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
    auto entries = EntryWalk::begin(tile);
    const auto leave = [&](int entry) {
      if (rows.active) rows.leave(arguments, tile, kv_head, entry);
    };
    int segment = -1;
    bool new_cut = true;
#pragma unroll 1
    while (!walk.over()) {
      advance();
      if (new_cut) {
        entries.go_to(tile, walk.cut(), leave);
        if (walk.segment != segment) {
          segment = walk.segment;
          rows.enter_segment(arguments, tile, kv_head, walk.rotation);
        }
        rows.clear_cut();
      }
      rows.attend_keys(arguments, walk, slot.slot);
      slot.advance();
      advance();
      rows.attend_values(slot.slot);
      slot.advance();
      const int cut = walk.cut();
      walk.next(arguments, tile);
      new_cut = walk.over() || walk.segment != segment || walk.cut() != cut;
      if (new_cut) rows.end_cut();
    }
    loader.finish();
    entries.finish(tile, leave);
  }
};

// Grid: tiles x kv heads, the heads of a tile side by side.
template <typename E, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    attention_mma_kernel(AttentionArguments arguments) {
  const auto block = static_cast<int>(blockIdx.x);
  const int kv_head = block % arguments.kv_heads;
  const AttentionTile* tile = arguments.tiles + block / arguments.kv_heads;
  const uint32_t ring = shared_base();
  auto loader = KeyCopies<Shape>::begin(arguments, tile, kv_head, ring);
  MmaTile<E, Shape>{tile, kv_head, ring}.attend(arguments, loader);
}

// The same with a ring that bulk copies fill (sm_90): the pool's `keys` as rows of head_dim.
template <typename E, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    attention_bulk_mma_kernel(AttentionArguments arguments,
                              const __grid_constant__ TensorMap keys) {
  const auto block = static_cast<int>(blockIdx.x);
  const int kv_head = block % arguments.kv_heads;
  const AttentionTile* tile = arguments.tiles + block / arguments.kv_heads;
  const uint32_t ring = shared_base();
  auto loader = KeyBulkCopies<Shape>::begin(arguments, tile, kv_head, ring, &keys);
  if (threadIdx.x == 0) {
    const uint32_t barriers = loader.barrier_of(loader.to);
#pragma unroll
    for (int i = 0; i < Shape::kSlots; ++i) mbar_init(barriers + static_cast<uint32_t>(i) * 8, 1);
    fence_mbar_init();
  }
  syncthreads();
  MmaTile<E, Shape>{tile, kv_head, ring}.attend(arguments, loader);
}

}  // namespace block_attention::cuda
