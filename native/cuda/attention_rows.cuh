// What a thread keeps of two rows of a tile while it walks over keys: online softmax (Dao et al.
// 2022), and the joining of cuts. One arithmetic for every tensor-core kernel, whose accumulators
// have the same layout (mma.sync and wgmma), so that they give the same bits.
//
// Bits. A row's scores, weights and sums are chains of products and additions in a fixed order over
// dims and keys, on a grid of steps that starts at the segment's first key; the other rows of the
// tile have no part in them. A step of which a row sees no key leaves that row as it is. At the end
// of a cut the row's state is joined to that of the cuts before by the arithmetic that also merges
// partials (attention_state.cuh), so it makes no difference who computed which cut.
#pragma once

#include "cuda/attention_keys.cuh"
#include "cuda/attention_rotate.cuh"
#include "cuda/attention_state.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/primitives.cuh"

namespace block_attention::cuda {

// The outputs of the cuts before, as fragments of mma. In this thread's own part of shared memory:
// they are touched once per cut, and in registers they would take as many as those of the cut that
// is computed.
template <typename Shape>
struct JoinedOutputs {
  uint32_t address;

  static constexpr uint32_t kStride = 32 * 16;  // a fragment of a warp

  DEVICE_FN static JoinedOutputs begin(uint32_t base, int warp, int lane) {
    return {base + static_cast<uint32_t>(warp * (Shape::kDim / 8)) * kStride +
            static_cast<uint32_t>(lane) * 16};
  }
  DEVICE_FN void clear() const {
#pragma unroll 4
    for (int n = 0; n < Shape::kDim / 8; ++n) set(n, F32x4{});
  }
  DEVICE_FN F32x4 get(int n) const {
    return lds<F32x4>(address + static_cast<uint32_t>(n) * kStride);
  }
  DEVICE_FN void set(int n, const F32x4& values) const {
    sts(address + static_cast<uint32_t>(n) * kStride, values);
  }
};

// What the two rows see of a step; keys are counted from its first.
struct StepSight {
  KeyRange seen[2];
  bool sees[2];  // at least one key
  bool whole;    // both see all keys
};

// Rows that see nothing of a step keep what they have: adding zeros would turn -0 into 0, and other
// rows' values may be NaN.
DEVICE_FN void keep_unseeing(float (&after)[4], const float (&before)[4], const bool (&sees)[2]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) after[i] = sees[i / 2] ? after[i] : before[i];
}

// Rows lane / 4 and lane / 4 + 8 of a warp's 16; index 0 and 1 of the two-element arrays are these.
// Element (n, i) of scores and outputs is key or dim 8 n + 2 (lane % 4) + i % 2 of row i / 2.
template <typename E, typename Shape>
struct RowPair {
  static constexpr int kKeySteps = Shape::kKeys / 16;

  int lane;
  int first_row;        // the warp's, in the tile
  int row_rotation[2];  // of its token; a row beyond the tile's last is the last once more

  float outputs[Shape::kDim / 8][4];
  float sums[2];  // of this thread's keys alone until the cut ends
  float maxima[2];
  JoinedOutputs<Shape> joined;
  RowState states[2];

  uint32_t p[kKeySteps][4];  // weights of a step, as mma's first operand

  DEVICE_FN void begin(const AttentionArguments& arguments, const AttentionTile* tile,
                       uint32_t joined_base) {
    lane = static_cast<int>(threadIdx.x) % 32;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    first_row = warp * 16;
    const int rows = ldg(&tile->tokens) * arguments.group;
    const AttentionToken* tokens = arguments.tokens + ldg(&tile->first_token);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = smaller(first_row + h * 8 + lane / 4, rows - 1);
      row_rotation[h] = ldg(&tokens[row / arguments.group].rotation);
    }
    joined = JoinedOutputs<Shape>::begin(joined_base, warp, lane);
    clear_entry();
  }

  // Rotates the warp's rows for a segment, into the tile `rotated` of panels of kRows rows, of
  // which the warp's begin at `row`. For the whole warp.
  template <int kRows, bool kTwice>
  DEVICE_FN void rotate(const AttentionArguments& arguments, const AttentionTile* tile, int kv_head,
                        int rotation, uint32_t rotated, int row) const {
    const int last_row = ldg(&tile->tokens) * arguments.group - 1;
    const int packed = smaller(first_row + lane / 2, last_row);
    const AttentionToken* token =
        arguments.tokens + ldg(&tile->first_token) + packed / arguments.group;
    const int head = kv_head * arguments.group + packed % arguments.group;
    const E* q = static_cast<const E*>(arguments.q) + ldg(&token->row) * arguments.q_stride +
                 head * arguments.head_dim;
    rotation += ldg(&token->rotation);
    if (arguments.half % kVector == 0) {
      rotate_row<E, kRows, kTwice, kVector>(arguments, q, rotation, rotated, row + lane / 2, lane);
    } else {
      rotate_row<E, kRows, kTwice, 1>(arguments, q, rotation, rotated, row + lane / 2, lane);
    }
  }

  // Dims of the padded head beyond head_dim, which no rotation writes.
  template <int kRows>
  DEVICE_FN void clear_padding(const AttentionArguments& arguments, uint32_t rotated,
                               int row) const {
    const int chunks = arguments.head_dim / 8;
    for (int chunk = chunks + lane % 2; chunk < Shape::kChunks; chunk += 2) {
      sts(rotated + panel_offset<kRows>(row + lane / 2, chunk), U32x4{});
    }
  }

  DEVICE_FN void clear_entry() {
    states[0] = states[1] = empty_state();
    joined.clear();
  }

  DEVICE_FN void clear_cut() {
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) outputs[n][i] = 0.0f;
    }
    sums[0] = sums[1] = 0.0f;
    maxima[0] = maxima[1] = -INFINITY;
  }

  DEVICE_FN StepSight look(const AttentionArguments& arguments,
                           const KeyWalk<Shape::kKeys>& walk) const {
    StepSight sight;
    sight.whole = true;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      KeyRange& seen = sight.seen[h];
      seen = visible_keys(walk.rotation + row_rotation[h], walk.length, arguments.window);
      seen.first -= walk.key;
      seen.last -= walk.key;
      sight.sees[h] = seen.first < Shape::kKeys && seen.last > 0;
      sight.whole = sight.whole && seen.first <= 0 && seen.last >= Shape::kKeys;
    }
    return sight;
  }

  // Turns the scores of a step into its weights, and rescales what the cut has so far.
  DEVICE_FN void weigh(float (&scores)[Shape::kKeys / 8][4], const StepSight& sight) {
    if (ballot(sight.whole) != 0xffffffffu) hide_unseen(scores, sight.seen);
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
      const float base = finite_base(maximum);
      keep[h] = exp2_approx(maxima[h] - base);
      maxima[h] = maximum;
      float sum = 0.0f;
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
        const float low = exp2_approx(scores[n][2 * h] - base);
        const float high = exp2_approx(scores[n][2 * h + 1] - base);
        p[n / 2][n % 2 * 2 + h] = pack<E>(low, high);
        sum += low + high;
      }
      sums[h] = fmaf(sums[h], keep[h], sum);
    }
    // A factor of one changes nothing, and the maximum seldom moves.
    if (ballot(keep[0] != 1.0f || keep[1] != 1.0f) == 0) return;
#pragma unroll
    for (int n = 0; n < Shape::kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) outputs[n][i] *= keep[i / 2];
    }
  }

  // Joins the cut that ends to those before it.
  DEVICE_FN void end_cut() {
    JoinWeights weights[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sums[h] += shfl_xor(sums[h], 1);
      sums[h] += shfl_xor(sums[h], 2);
      weights[h] = join(states[h], {maxima[h], sums[h]});
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
  }

  // Ends an entry: stores what this thread holds of its two rows as a partial; or joins it to the
  // entries before, and stores the results behind the last. For the whole warp.
  DEVICE_FN void leave(const AttentionArguments& arguments, const AttentionTile* tile, int kv_head,
                       int entry) {
    const int rows = ldg(&tile->tokens) * arguments.group;
    const bool results_wanted = ldg(&tile->results) != 0;
    const bool joins = results_wanted && entry > 0;
    const bool ends = results_wanted && is_last_entry(tile, entry);
    E* results[2];
    float* partials[2];
    float inverse[2];
    JoinWeights weights[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = first_row + h * 8 + lane / 4;
      const int head = row % arguments.group;
      const AttentionToken* token =
          arguments.tokens + ldg(&tile->first_token) + smaller(row, rows - 1) / arguments.group;
      const int64_t index = partial_index(token, kv_head, results_wanted ? 0 : entry, head);
      const bool exists = row < rows;
      if (joins && exists) {
        RowState before = load_stats(arguments.partials, index);
        weights[h] = join(before, states[h]);
        states[h] = before;
      }
      // What the four lanes of a row have read, one of them writes.
      syncwarp();
      results[h] = nullptr;
      partials[h] = nullptr;
      inverse[h] = inverse_sum(states[h]);
      if (!exists) continue;
      if (ends) {
        results[h] = static_cast<E*>(arguments.out) + ldg(&token->row) * arguments.out_stride +
                     (kv_head * arguments.group + head) * arguments.head_dim;
      } else if (lane % 4 == 0) {
        store_stats(arguments.partials, index, states[h]);
      }
      if (joins || !ends) partials[h] = arguments.partials.outputs + index * arguments.head_dim;
    }
#pragma unroll 2
    for (int n = 0; n < arguments.head_dim / 8; ++n) {
      const int dim = n * 8 + lane % 4 * 2;
      const F32x4 values = joined.get(n);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float low = values.x[2 * h];
        float high = values.x[2 * h + 1];
        if (joins && partials[h] != nullptr) {
          const F32x2 before = ldg(reinterpret_cast<const F32x2*>(partials[h] + dim));
          low = join_output(weights[h], before.x[0], low);
          high = join_output(weights[h], before.x[1], high);
        }
        if (results[h] != nullptr) {
          stg(reinterpret_cast<uint32_t*>(results[h] + dim),
              pack<E>(low * inverse[h], high * inverse[h]));
        } else if (partials[h] != nullptr) {
          stg(reinterpret_cast<F32x2*>(partials[h] + dim), F32x2{{low, high}});
        }
      }
    }
    clear_entry();
    // What one lane has written, others read behind the next entry.
    syncwarp();
  }

 private:
  DEVICE_FN static int key_of(int n, int i, int lane) { return n * 8 + lane % 4 * 2 + i % 2; }

  DEVICE_FN void hide_unseen(float (&scores)[Shape::kKeys / 8][4],
                             const KeyRange (&seen)[2]) const {
#pragma unroll
    for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = key_of(n, i, lane);
        if (key < seen[i / 2].first || key >= seen[i / 2].last) scores[n][i] = -INFINITY;
      }
    }
  }
};

}  // namespace block_attention::cuda
