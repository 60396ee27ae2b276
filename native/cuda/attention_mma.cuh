// Attention on the tensor cores of sm_80 and later (mma.sync m16n8k16, float32 sums).
//
// A block takes one tile: up to kRows rows, 16 per warp, and all keys that they see, in steps of
// kKeys. Keys and values of a step arrive by cp.async in a ring of slots (keys, values, keys, ...);
// one barrier per slot. Per step: scores = q k^T, online softmax (Dao et al. 2022), outputs += p v.
// The query is rotated once per segment, from the unrotated rows in global memory (which stay in L1
// or L2: a copy in shared memory would cost a block per multiprocessor).
//
// Bits. A row's scores, weights and sums are chains of products in a fixed order over dims and
// keys, on a grid of steps that starts at the segment's first key; the other rows of the tile have
// no part in them. A step of which a row sees no key leaves that row's registers as they are. At
// the end of a cut the row's state is joined to that of the cuts before by the arithmetic that also
// merges partials (attention_state.cuh), so it makes no difference who computed which cut. The
// weights are summed as they are multiplied: rounded, by a product with ones.
#pragma once

#include <type_traits>

#include "cuda/attention_keys.cuh"
#include "cuda/attention_rotate.cuh"
#include "cuda/attention_state.cuh"
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
  static constexpr int kKeys = kDim <= 128 ? 64 : 16;
  static constexpr int kChunks = kDim / 8;  // of 16 bytes in a row
  static constexpr uint32_t kQueryBytes = kRows * kDim * 2;
  static constexpr uint32_t kJoinedBytes = kRows * kDim * 4;
  static constexpr uint32_t kSixteenRows = 16 * kDim * 2;  // bytes
  static constexpr uint32_t kSlotBytes = kKeys * kDim * 2;
  static constexpr uint32_t kSharedBytes = kQueryBytes + kJoinedBytes + kSlots * kSlotBytes;

  static_assert(kDim % 64 == 0 && kKeys % 16 == 0 && kSlots >= 2);
  static_assert(kThreads % kChunks == 0 && kKeys % (kThreads / kChunks) == 0);
  static_assert(kSharedBytes <= 99 * 1024, "the least that cards since sm_80 give a block");
};

// Fills the ring: the keys of a step, then its values, then the next step.
template <typename Shape>
struct KeyLoader {
  KeyWalk<Shape::kKeys> walk;
  int page;     // lane i holds the step's page i % kPages
  bool values;  // what comes next

  static constexpr int kPages = Shape::kKeys / kPageTokens;

  DEVICE_FN static KeyLoader begin(const AttentionArguments& arguments, const AttentionTile* tile) {
    KeyLoader loader;
    loader.walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
    loader.values = false;
    loader.find_page();
    return loader;
  }

  DEVICE_FN void find_page() {
    page = 0;
    if (walk.over()) return;
    const int index = walk.key / kPageTokens + static_cast<int>(threadIdx.x) % kPages;
    if (index * kPageTokens < walk.length) page = ldg(walk.pages + index);
  }

  // Puts the next part on its way to `slot`, as a group of its own (an empty one at the end).
  DEVICE_FN void load(const AttentionArguments& arguments, const AttentionTile* tile, int kv_head,
                      uint32_t slot) {
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
        cp_async16(slot + chunk_offset<Shape::kChunks>(row, chunk),
                   from + in_page * arguments.kv.page_bytes + row % kPageTokens * row_bytes,
                   in_head && walk.key + row < walk.length);
      }
      if (values) {
        walk.next(arguments, tile);
        find_page();
      }
      values = !values;
    }
    cp_async_commit();
  }
};

// The outputs of the cuts before, as fragments of mma. In this thread's own part of shared memory:
// they are touched once per cut, and in registers they would take as many as those of the cut that
// is computed.
template <typename Shape>
struct JoinedOutputs {
  uint32_t address;

  static constexpr uint32_t kStride = 32 * 16;  // a fragment of a warp

  DEVICE_FN void clear(uint32_t base, int warp, int lane) {
    address = base + static_cast<uint32_t>(warp * (Shape::kDim / 8)) * kStride +
              static_cast<uint32_t>(lane) * 16;
#pragma unroll 4
    for (int n = 0; n < Shape::kDim / 8; ++n) set(n, F32x4{});
  }
  DEVICE_FN F32x4 get(int n) const {
    return lds<F32x4>(address + static_cast<uint32_t>(n) * kStride);
  }
  DEVICE_FN void set(int n, const F32x4& values) {
    sts(address + static_cast<uint32_t>(n) * kStride, values);
  }
};

// Two ones of type E.
template <typename E>
inline constexpr uint32_t kOnes = std::is_same_v<E, Bf16> ? 0x3f803f80u : 0x3c003c00u;

// What a thread holds of its warp's 16 rows: rows lane / 4 and lane / 4 + 8, in the layout of mma's
// accumulators. Index 0 and 1 of the two-element arrays are these rows.
template <typename E, typename Shape>
struct WarpRows {
  static constexpr int kDimSteps = Shape::kDim / 16;
  static constexpr int kKeySteps = Shape::kKeys / 16;

  int lane;
  bool active;          // else all rows of the warp are beyond the tile's
  int row_rotation[2];  // of its token; a row beyond the tile's last is the last once more
  uint32_t rotated;     // the warp's rows in shared memory
  // What this lane fetches by ldmatrix from the first two chunks of 16 rows: a first operand of mma
  // or, transposed, the values of 16 keys; the keys as a second operand.
  uint32_t row_offset;
  uint32_t key_offset;

  float outputs[Shape::kDim / 8][4];
  float sums[4];
  float maxima[2];
  JoinedOutputs<Shape> joined;
  RowState states[2];

  uint32_t p[kKeySteps][4];  // weights of a step, as mma's first operand
  bool works;                // some row sees a key of the step
  bool ragged;               // some row sees none
  bool sees[2];

  DEVICE_FN void begin(const AttentionArguments& arguments, const AttentionTile* tile,
                       uint32_t shared) {
    lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int rows = ldg(&tile->tokens) * arguments.group;
    const AttentionToken* tokens = arguments.tokens + ldg(&tile->first_token);
    active = warp * 16 < rows;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = smaller(warp * 16 + h * 8 + lane / 4, rows - 1);
      row_rotation[h] = ldg(&tokens[row / arguments.group].rotation);
      states[h] = empty_state();
    }
    rotated = shared + static_cast<uint32_t>(warp) * Shape::kSixteenRows;
    row_offset = chunk_offset<Shape::kChunks>(lane & 15, lane >> 4);
    key_offset = chunk_offset<Shape::kChunks>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
    joined.clear(shared + Shape::kQueryBytes, warp, lane);
    clear_cut();
    // Dims beyond head_dim are zeros, here and in the ring.
    const int chunks = arguments.head_dim / 8;
    for (int chunk = chunks + lane % 2; chunk < Shape::kChunks; chunk += 2) {
      sts(rotated + chunk_offset<Shape::kChunks>(lane / 2, chunk), U32x4{});
    }
  }

  DEVICE_FN void clear_cut() {
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) outputs[n][i] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = 0.0f;
    maxima[0] = maxima[1] = -INFINITY;
  }

  DEVICE_FN void enter_segment(const AttentionArguments& arguments, const AttentionTile* tile,
                               int kv_head, int first_row, int rotation) {
    if (!active) return;
    const int last_row = ldg(&tile->tokens) * arguments.group - 1;
    const int row = smaller(first_row + lane / 2, last_row);
    const AttentionToken* token =
        arguments.tokens + ldg(&tile->first_token) + row / arguments.group;
    const int head = kv_head * arguments.group + row % arguments.group;
    const E* q = static_cast<const E*>(arguments.q) + ldg(&token->row) * arguments.q_stride +
                 head * arguments.head_dim;
    rotation += ldg(&token->rotation);
    // A block's barrier lies between the last look at the segment before and this.
    if (arguments.half % kVector == 0) {
      rotate_row<E, Shape::kChunks, kVector>(arguments, q, rotation, rotated, lane / 2, lane);
    } else {
      rotate_row<E, Shape::kChunks, 1>(arguments, q, rotation, rotated, lane / 2, lane);
    }
    syncwarp();
  }

  // Scores and weights of a step; rescales what the cut has so far.
  DEVICE_FN void attend_keys(const AttentionArguments& arguments, const KeyWalk<Shape::kKeys>& walk,
                             uint32_t slot) {
    works = false;
    if (!active) return;
    KeyRange seen[2];  // counted from the step's first key
    bool whole = true;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      seen[h] = visible_keys(walk.rotation + row_rotation[h], walk.length, arguments.window);
      seen[h].first -= walk.key;
      seen[h].last -= walk.key;
      sees[h] = seen[h].first < Shape::kKeys && seen[h].last > 0;
      whole = whole && seen[h].first <= 0 && seen[h].last >= Shape::kKeys;
    }
    works = ballot(sees[0] || sees[1]) != 0;
    if (!works) return;
    ragged = ballot(sees[0] && sees[1]) != 0xffffffffu;

    float scores[Shape::kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kDimSteps; ++k) {
      uint32_t q[4];
      ldmatrix_x4(q, at_chunk_pair(rotated + row_offset, k));
#pragma unroll
      for (int n = 0; n < kKeySteps; ++n) {
        uint32_t b[4];
        ldmatrix_x4(b, at_chunk_pair(slot + key_offset, k) + n * Shape::kSixteenRows);
        mma_m16n8k16<E>(scores[2 * n], q, b[0], b[1]);
        mma_m16n8k16<E>(scores[2 * n + 1], q, b[2], b[3]);
      }
    }
    if (ballot(whole) != 0xffffffffu) hide_unseen(scores, seen);
    weigh(scores);
  }

  DEVICE_FN void hide_unseen(float (&scores)[Shape::kKeys / 8][4],
                             const KeyRange (&seen)[2]) const {
#pragma unroll
    for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = n * 8 + lane % 4 * 2 + i % 2;
        if (key < seen[i / 2].first || key >= seen[i / 2].last) scores[n][i] = -INFINITY;
      }
    }
  }

  DEVICE_FN void weigh(const float (&scores)[Shape::kKeys / 8][4]) {
    float base[2];
    float keep[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float maximum = -INFINITY;
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
        maximum = fmaxf(maximum, fmaxf(scores[n][2 * h], scores[n][2 * h + 1]));
      }
      maximum = fmaxf(maximum, shfl_xor(maximum, 1));
      maximum = fmaxf(maximum, shfl_xor(maximum, 2));
      maximum = fmaxf(maximum, maxima[h]);
      base[h] = finite_base(maximum);
      keep[h] = exp2_approx(maxima[h] - base[h]);
      maxima[h] = maximum;
    }
#pragma unroll
    for (int k = 0; k < kKeySteps; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&pair)[4] = scores[2 * k + i / 2];
        const int h = i % 2;
        p[k][i] =
            pack<E>(exp2_approx(pair[2 * h] - base[h]), exp2_approx(pair[2 * h + 1] - base[h]));
      }
    }
    // A factor of one changes nothing, and the maximum seldom moves.
    if (ballot(keep[0] != 1.0f || keep[1] != 1.0f) == 0) return;
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] *= keep[i / 2];
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) outputs[n][i] *= keep[i / 2];
    }
  }

  DEVICE_FN void attend_values(uint32_t slot) {
    if (!works) return;
    if (ragged) {
      add_values<true>(slot);
    } else {
      add_values<false>(slot);
    }
  }

  // Rows that see nothing of the step keep what they have: adding zeros would turn -0 into 0, and
  // other rows' values may be NaN.
  DEVICE_FN void keep_unseeing(float (&after)[4], const float (&before)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) after[i] = sees[i / 2] ? after[i] : before[i];
  }

  template <bool kRagged>
  DEVICE_FN void add_values(uint32_t slot) {
    const float sums_before[4] = {sums[0], sums[1], sums[2], sums[3]};
#pragma unroll
    for (int k = 0; k < kKeySteps; ++k) mma_m16n8k16<E>(sums, p[k], kOnes<E>, kOnes<E>);
    if constexpr (kRagged) keep_unseeing(sums, sums_before);
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
              b, at_chunk_pair(slot + row_offset, (n + j) / 2) + k * Shape::kSixteenRows);
          mma_m16n8k16<E>(outputs[n + j], p[k], b[0], b[1]);
          mma_m16n8k16<E>(outputs[n + j + 1], p[k], b[2], b[3]);
        }
      }
      if constexpr (kRagged) {
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) keep_unseeing(outputs[n + j], before[j]);
      }
    }
  }

  // Joins the cut that ends to those before it.
  DEVICE_FN void end_cut() {
    JoinWeights weights[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      weights[h] = join(states[h], {maxima[h], sums[2 * h]});
    }
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
      F32x4 values = joined.get(n);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        values.x[i] = join_output(weights[i / 2], values.x[i], outputs[n][i]);
      }
      joined.set(n, values);
    }
    clear_cut();
  }

  // What this thread holds of its two rows, as results or as partials.
  DEVICE_FN void store(const AttentionArguments& arguments, const AttentionTile* tile, int kv_head,
                       int first_row) const {
    const int rows = ldg(&tile->tokens) * arguments.group;
    const int cut = ldg(&tile->cut);
    E* results[2];
    float* partials[2];
    float inverse[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first_row + h * 8 + lane / 4;
      const int head = row % arguments.group;
      const AttentionToken* token =
          arguments.tokens + ldg(&tile->first_token) + smaller(row, rows - 1) / arguments.group;
      results[h] = nullptr;
      partials[h] = nullptr;
      inverse[h] = inverse_sum(states[h]);
      if (row >= rows) continue;
      if (cut == kEveryCut) {
        results[h] = static_cast<E*>(arguments.out) + ldg(&token->row) * arguments.out_stride +
                     (kv_head * arguments.group + head) * arguments.head_dim;
      } else {
        const int64_t index = partial_index(token, kv_head, cut, head);
        partials[h] = arguments.partials.outputs + index * arguments.head_dim;
        if (lane % 4 == 0) store_stats(arguments.partials, index, states[h]);
      }
    }
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
      const int dim = n * 8 + lane % 4 * 2;
      if (n * 8 >= arguments.head_dim) break;
      const F32x4 values = joined.get(n);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float low = values.x[2 * h];
        const float high = values.x[2 * h + 1];
        if (results[h] != nullptr) {
          stg(reinterpret_cast<uint32_t*>(results[h] + dim),
              pack<E>(low * inverse[h], high * inverse[h]));
        } else if (partials[h] != nullptr) {
          stg(reinterpret_cast<F32x2*>(partials[h] + dim), F32x2{{low, high}});
        }
      }
    }
  }
};

// Grid: tiles x kv heads, the heads of a tile side by side.
template <typename E, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    attention_mma_kernel(AttentionArguments arguments) {
  const auto block = static_cast<int>(blockIdx.x);
  const int kv_head = block % arguments.kv_heads;
  const AttentionTile* tile = arguments.tiles + block / arguments.kv_heads;
  const int first_row = static_cast<int>(threadIdx.x) / 32 * 16;
  const uint32_t shared = shared_base();
  const uint32_t ring = shared + Shape::kQueryBytes + Shape::kJoinedBytes;
  const uint32_t ring_end = ring + Shape::kSlots * Shape::kSlotBytes;

  auto loader = KeyLoader<Shape>::begin(arguments, tile);
#pragma unroll
  for (int i = 0; i + 1 < Shape::kSlots; ++i) {
    loader.load(arguments, tile, kv_head, ring + static_cast<uint32_t>(i) * Shape::kSlotBytes);
  }
  WarpRows<E, Shape> rows;
  rows.begin(arguments, tile, shared);

  // The slot that is read, and the one before it, which is free.
  uint32_t slot = ring;
  uint32_t free = ring_end - Shape::kSlotBytes;
  const auto advance = [&] {
    cp_async_wait<Shape::kSlots - 2>();
    syncthreads();
    loader.load(arguments, tile, kv_head, free);
  };
  const auto turn = [&] {
    free = slot;
    slot += Shape::kSlotBytes;
    if (slot == ring_end) slot = ring;
  };
  auto walk = KeyWalk<Shape::kKeys>::begin(arguments, tile);
  int segment = -1;
#pragma unroll 1
  while (!walk.over()) {
    advance();
    if (walk.segment != segment) {
      segment = walk.segment;
      rows.enter_segment(arguments, tile, kv_head, first_row, walk.rotation);
    }
    rows.attend_keys(arguments, walk, slot);
    turn();
    advance();
    rows.attend_values(slot);
    turn();
    const int cut = walk.cut();
    walk.next(arguments, tile);
    if (walk.over() || walk.segment != segment || walk.cut() != cut) rows.end_cut();
  }
  cp_async_wait<0>();
  if (rows.active) rows.store(arguments, tile, kv_head, first_row);
}

}  // namespace block_attention::cuda
