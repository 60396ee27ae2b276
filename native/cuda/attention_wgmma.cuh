// Attention on the tensor cores of Hopper (wgmma, sm_90a): tiles of many rows.
//
// A block takes one tile: 64 rows per warpgroup of consumers, and all keys that they see, in steps
// of kKeys. One warp more, the producer, has bulk copies bring keys and values to a ring of slots
// (keys, values, keys, ...), ahead of the consumers; a slot has a barrier for what has arrived and
// one for who is done with it. The consumers do not wait for each other: while one weighs its
// scores, the tensor cores have the products of another.
//
// Scores and outputs lie in registers as mma.sync's do, and wgmma adds as it does (tests
// HopperPrimitivesTest.Wgmma*: the same bits), so that rows have the bits of attention_mma.cuh.
#pragma once

#include "cuda/attention_key_boxes.cuh"
#include "cuda/attention_keys.cuh"
#include "cuda/attention_ring.cuh"
#include "cuda/attention_rows.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/chunk_offset.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// kProducer and kConsumer: registers of a thread of either, of 65536 in a multiprocessor.
template <int kPaddedDim, int kWarpgroups, int kRingSlots, int kProducer, int kConsumer>
struct AttentionWgmmaShape {
  static constexpr int kDim = kPaddedDim;
  static constexpr int kGroups = kWarpgroups;
  static constexpr int kSlots = kRingSlots;
  static constexpr int kProducerRegisters = kProducer;
  static constexpr int kConsumerRegisters = kConsumer;
  static constexpr int kThreads = (kGroups + 1) * 128;
  static constexpr int kGroupRows = 64;
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kKeys = attention_step_keys(kDim);
  static constexpr int kChunks = kDim / 8;
  static constexpr uint32_t kGroupQueryBytes = kGroupRows * kDim * 2;
  static constexpr uint32_t kQueryBytes = kRows * kDim * 2;
  static constexpr uint32_t kJoinedBytes = kRows * kDim * 4;
  static constexpr uint32_t kSlotBytes = kKeys * kDim * 2;
  static constexpr uint32_t kRingBytes = kSlots * kSlotBytes;
  static constexpr uint32_t kBarrierBytes = kSlots * 16;
  static constexpr uint32_t kSharedBytes = kRingBytes + kQueryBytes + kJoinedBytes + kBarrierBytes;

  // The barriers of a slot: of what has arrived in it, and of who is done with it.
  template <typename Place>
  DEVICE_FN static uint32_t arrived(const Place& place) {
    return place.ring + kSharedBytes - kBarrierBytes + place.index() * 16;
  }
  template <typename Place>
  DEVICE_FN static uint32_t done(const Place& place) {
    return arrived(place) + 8;
  }

  static_assert(kDim % 64 == 0 && kKeys == 64 && kSlots >= 2);
  static_assert(kSharedBytes <= 227 * 1024, "what Hopper gives a block");
  // Of what the launch has: as many registers for each thread as all of them can have.
  static_assert((kGroups * kConsumer + kProducer) * 128 <= 65536 / kThreads / 8 * 8 * kThreads);
};

template <typename E, typename Shape>
struct WgmmaRows : RowPair<E, Shape> {
  using Base = RowPair<E, Shape>;
  static constexpr int kDimSteps = Shape::kDim / 16;
  static constexpr int kKeySteps = Shape::kKeys / 16;
  static constexpr uint32_t kEightRows = 8 * 128;            // bytes of a panel
  static constexpr uint32_t kKeyPanel = Shape::kKeys * 128;  // bytes
  static constexpr uint32_t kQueryPanel = Shape::kGroupRows * 128;

  int group;         // of consumers
  uint32_t rotated;  // its rows in shared memory
  // Of the group's rows: what none of them sees, all of them skip.
  int lowest_rotation;
  int highest_rotation;

  DEVICE_FN void begin(const AttentionArguments& arguments, const AttentionTile* tile,
                       uint32_t queries, uint32_t joined) {
    Base::begin(arguments, tile, joined);
    group = Base::first_row / Shape::kGroupRows;
    rotated = queries + static_cast<uint32_t>(group) * Shape::kGroupQueryBytes;
    find_rotations(arguments, tile);
    Base::template clear_padding<Shape::kGroupRows>(arguments, rotated, row());
  }

  // The warp's first row in the group.
  DEVICE_FN int row() const { return Base::first_row % Shape::kGroupRows; }
  DEVICE_FN void sync_group() const { bar_sync(1 + group, 128); }

  DEVICE_FN void find_rotations(const AttentionArguments& arguments, const AttentionTile* tile) {
    const int first = group * Shape::kGroupRows / arguments.group;
    const int last =
        smaller((group + 1) * Shape::kGroupRows - 1, ldg(&tile->tokens) * arguments.group - 1) /
        arguments.group;
    const AttentionToken* tokens = arguments.tokens + ldg(&tile->first_token);
    lowest_rotation = highest_rotation = ldg(&tokens[first].rotation);
    for (int token = first + Base::lane; token <= last; token += 32) {
      const int rotation = ldg(&tokens[token].rotation);
      lowest_rotation = smaller(lowest_rotation, rotation);
      highest_rotation = larger(highest_rotation, rotation);
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) {
      lowest_rotation = smaller(lowest_rotation, shfl_xor(lowest_rotation, mask));
      highest_rotation = larger(highest_rotation, shfl_xor(highest_rotation, mask));
    }
  }

  DEVICE_FN void enter_segment(const AttentionArguments& arguments, const AttentionTile* tile,
                               int kv_head, int rotation) {
    // Products of the segment before may still read the rows of another warp.
    sync_group();
    Base::template rotate<Shape::kGroupRows, true>(arguments, tile, kv_head, rotation, rotated,
                                                   row());
    fence_proxy_async();
    sync_group();
  }

  // Whether some row of the group may see a key of the step.
  DEVICE_FN bool works(const AttentionArguments& arguments,
                       const KeyWalk<Shape::kKeys>& walk) const {
    const int first =
        visible_keys(walk.rotation + lowest_rotation, walk.length, arguments.window).first;
    const int last =
        visible_keys(walk.rotation + highest_rotation, walk.length, arguments.window).last;
    return first < walk.key + Shape::kKeys && last > walk.key;
  }

  DEVICE_FN void multiply_keys(float (&scores)[Shape::kKeys / 8][4], uint32_t slot) const {
    auto& sums = reinterpret_cast<float(&)[Shape::kKeys / 2]>(scores);
    wgmma_fence(sums);
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {
      const auto step = static_cast<uint32_t>(k % 4 * 32);
      const auto panel = static_cast<uint32_t>(k / 4);
      wgmma_m64k16<E, 0, Shape::kKeys>(
          sums, wgmma_descriptor(rotated + panel * kQueryPanel + step, 16, kEightRows),
          wgmma_descriptor(slot + panel * kKeyPanel + step, 16, kEightRows), k > 0);
    }
    wgmma_commit();
    wgmma_wait<0>(sums);
  }

  DEVICE_FN void add_values(uint32_t slot, const StepSight& sight) {
    const bool ragged = ballot(sight.sees[0] && sight.sees[1]) != 0xffffffffu;
    float before[Shape::kDim / 8][4] = {};
    if (ragged) {
#pragma unroll
      for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) before[n][i] = Base::outputs[n][i];
      }
    }
    // All warps of the group take the same products, ragged or not.
    multiply_values(slot);
    if (ragged) {
#pragma unroll
      for (int n = 0; n < Shape::kDim / 8; ++n)
        keep_unseeing(Base::outputs[n], before[n], sight.sees);
    }
  }

  DEVICE_FN void multiply_values(uint32_t slot) {
    auto& sums = reinterpret_cast<float(&)[Shape::kDim / 2]>(Base::outputs);
    wgmma_fence(sums);
#pragma unroll
    for (int k = 0; k < kKeySteps; ++k) {
      wgmma_m64k16<E, 1, Shape::kDim>(
          sums, Base::p[k],
          wgmma_descriptor(slot + static_cast<uint32_t>(k) * 2 * kEightRows, kKeyPanel, kEightRows),
          true);
    }
    wgmma_commit();
    wgmma_wait<0>(sums);
  }
};

// What the roles of a block do with its tile.
template <typename E, typename Shape>
struct WgmmaTile {
  const AttentionTile* tile;
  int kv_head;
  uint32_t ring;

  // The producer: for one warp.
  DEVICE_FN void bring_keys(const AttentionArguments& arguments, const TensorMap* map) const {
    const auto boxes = KeyBoxes<Shape>::begin(arguments, kv_head, map);
    auto to = RingPlace<Shape>::begin(ring);
    bool first_turn = true;
#pragma unroll 1
    for (auto walk = KeyWalk<Shape::kKeys>::begin(arguments, tile); !walk.over();
         walk.next(arguments, tile)) {
#pragma unroll 1
      for (int values = 0; values < 2; ++values) {
        if (!first_turn) mbar_wait(Shape::done(to), to.turn ^ 1);
        boxes.load(arguments, walk, values != 0, to.slot, Shape::arrived(to));
        to.advance();
        if (to.slot == ring) first_turn = false;
      }
    }
  }

  // The consumers: for a warpgroup.
  DEVICE_FN void attend(const AttentionArguments& arguments) const {
    const uint32_t queries = ring + Shape::kRingBytes;
    WgmmaRows<E, Shape> rows;
    rows.begin(arguments, tile, queries, queries + Shape::kQueryBytes);

    auto from = RingPlace<Shape>::begin(ring);
    const auto leave_slot = [&] {
      // No lane may still wait for what arrives once the slot is filled again.
      syncwarp();
      if (rows.lane == 0) mbar_arrive(Shape::done(from));
      from.advance();
    };
    auto walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
    auto entries = EntryWalk::begin(tile);
    const auto leave = [&](int entry) { rows.leave(arguments, tile, kv_head, entry); };
    int segment = -1;
    bool new_cut = true;
#pragma unroll 1
    while (!walk.over()) {
      if (new_cut) {
        entries.go_to(tile, walk.cut(), leave);
        if (walk.segment != segment) {
          segment = walk.segment;
          rows.enter_segment(arguments, tile, kv_head, walk.rotation);
        }
        rows.clear_cut();
      }
      const bool works = rows.works(arguments, walk);
      StepSight sight;
      mbar_wait(Shape::arrived(from), from.turn);
      if (works) {
        float scores[Shape::kKeys / 8][4];
        rows.multiply_keys(scores, from.slot);
        leave_slot();
        sight = rows.look(arguments, walk);
        rows.weigh(scores, sight);
      } else {
        leave_slot();
      }
      mbar_wait(Shape::arrived(from), from.turn);
      if (works) rows.add_values(from.slot, sight);
      leave_slot();
      const int cut = walk.cut();
      walk.next(arguments, tile);
      new_cut = walk.over() || walk.segment != segment || walk.cut() != cut;
      if (new_cut) rows.end_cut();
    }
    entries.finish(tile, leave);
  }
};

// Grid: tiles x kv heads, the heads of a tile side by side. `keys`: the pool as rows of head_dim.
template <typename E, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    attention_wgmma_kernel(AttentionArguments arguments, const __grid_constant__ TensorMap keys) {
  const auto block = static_cast<int>(blockIdx.x);
  const uint32_t ring = shared_base();
  const AttentionTile* tile = arguments.tiles + block / arguments.kv_heads;
  const WgmmaTile<E, Shape> work = {tile, block % arguments.kv_heads, ring};
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int rows = ldg(&tile->tokens) * arguments.group;
  const int groups = (rows + Shape::kGroupRows - 1) / Shape::kGroupRows;  // that have rows
  if (threadIdx.x == 0) {
    auto place = RingPlace<Shape>::begin(ring);
#pragma unroll
    for (int i = 0; i < Shape::kSlots; ++i) {
      mbar_init(Shape::arrived(place), 1);
      mbar_init(Shape::done(place), static_cast<uint32_t>(groups) * 4);
      place.advance();
    }
    fence_mbar_init();
  }
  syncthreads();
  if (warp / 4 == Shape::kGroups) {
    setmaxnreg_dec<Shape::kProducerRegisters>();
    if (warp % 4 == 0) work.bring_keys(arguments, &keys);
  } else {
    setmaxnreg_inc<Shape::kConsumerRegisters>();
    if (warp / 4 < groups) work.attend(arguments);
  }
}

}  // namespace block_attention::cuda
