// Attention as plainly as it can be written: one warp per row, no tensor cores, weights not
// rounded. What tests and benchmarks compare with.
#pragma once

#include "cuda/attention_keys.cuh"
#include "cuda/attention_state.cuh"
#include "cuda/attention_tiles.hpp"
#include "cuda/primitives.cuh"
#include "cuda/vector.cuh"

namespace block_attention::cuda {

struct AttentionPlainShape {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kKeys = 32;  // one per lane
  static constexpr int kMaxDim = 256;
  static constexpr int kLaneDims = kMaxDim / 32;
  static constexpr uint32_t kSharedBytes = kWarps * kMaxDim * 4;
};

template <typename E>
struct PlainRow {
  using Shape = AttentionPlainShape;

  int lane;
  uint32_t query;                   // rotated, [head_dim] floats in shared memory
  float outputs[Shape::kLaneDims];  // dims lane, lane + 32, ...
  RowState now;                     // of the cut that is computed
  float joined[Shape::kLaneDims];
  RowState before;

  DEVICE_FN void clear_entry() {
#pragma unroll
    for (int i = 0; i < Shape::kLaneDims; ++i) joined[i] = 0.0f;
    before = empty_state();
  }

  DEVICE_FN void clear_cut() {
#pragma unroll
    for (int i = 0; i < Shape::kLaneDims; ++i) outputs[i] = 0.0f;
    now = empty_state();
  }

  DEVICE_FN void rotate(const AttentionArguments& arguments, const E* q, int rotation) const {
    const int half = arguments.half;
    const float* cos = arguments.rope + int64_t{rotation} * 2 * half;
    const float* sin = cos + half;
    syncwarp();
    for (int dim = lane; dim < arguments.head_dim; dim += 32) {
      float value = widen(ldg(q + dim));
      if (dim < half) {
        value = fmaf(-widen(ldg(q + half + dim)), ldg(sin + dim), value * ldg(cos + dim));
      } else if (dim < 2 * half) {
        value =
            fmaf(widen(ldg(q + dim - half)), ldg(sin + dim - half), value * ldg(cos + dim - half));
      }
      sts(query + static_cast<uint32_t>(dim) * 4, widen(narrow<E>(arguments.scale * value)));
    }
    syncwarp();
  }

  // One step: lane i has key `key` + i. k and v are those of slot 0 of the lane's page.
  DEVICE_FN void attend(const AttentionArguments& arguments, const KeyWalk<Shape::kKeys>& walk,
                        const KeyRange& seen, int kv_head) {
    const int own = walk.key + lane;
    const bool sees = own >= seen.first && own < seen.last;
    const int page = sees ? ldg(walk.pages + own / kPageTokens) : 0;
    const E* k = reinterpret_cast<const E*>(arguments.kv.k(page, arguments.layer, kv_head)) +
                 own % kPageTokens * arguments.head_dim;
    float score = -INFINITY;
    if (sees) {
      score = 0.0f;
#pragma unroll 1
      for (int dim = 0; dim < arguments.head_dim; dim += kVector) {
        float keys[kVector];
        load_vector(k + dim, keys);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          score = fmaf(lds<float>(query + static_cast<uint32_t>(dim + i) * 4), keys[i], score);
        }
      }
    }
    // Others of the tile see keys of the step, this row does not.
    if (ballot(sees) == 0) return;
    float maximum = score;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) maximum = fmaxf(maximum, shfl_xor(maximum, mask));
    maximum = fmaxf(maximum, now.maximum);
    const float keep = exp2_approx(now.maximum - finite_base(maximum));
    const float weight = exp2_approx(score - finite_base(maximum));
    float sum = weight;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) sum += shfl_xor(sum, mask);
    now.maximum = maximum;
    now.sum = fmaf(now.sum, keep, sum);
#pragma unroll
    for (int i = 0; i < Shape::kLaneDims; ++i) outputs[i] *= keep;
    const int64_t v_offset = arguments.kv.head_bytes / 2;
#pragma unroll 1
    for (int j = 0; j < Shape::kKeys; ++j) {
      const int key = walk.key + j;
      if (key < seen.first || key >= seen.last) continue;
      const float p = shfl(weight, j);
      const int64_t in_page = shfl(page, j);
      const E* v = reinterpret_cast<const E*>(arguments.kv.k(0, arguments.layer, kv_head) +
                                              in_page * arguments.kv.page_bytes + v_offset) +
                   key % kPageTokens * arguments.head_dim;
#pragma unroll
      for (int i = 0; i < Shape::kLaneDims; ++i) {
        const int dim = lane + i * 32;
        if (dim < arguments.head_dim) outputs[i] = fmaf(p, widen(ldg(v + dim)), outputs[i]);
      }
    }
  }

  DEVICE_FN void end_cut() {
    const JoinWeights weights = join(before, now);
#pragma unroll
    for (int i = 0; i < Shape::kLaneDims; ++i) {
      joined[i] = join_output(weights, joined[i], outputs[i]);
    }
    clear_cut();
  }

  // As results at `out`, or as partial `index`; `joins`: joined to what lies there.
  DEVICE_FN void leave(const AttentionArguments& arguments, E* out, int64_t index, bool joins) {
    JoinWeights weights{};
    if (joins) {
      RowState earlier = load_stats(arguments.partials, index);
      weights = join(earlier, before);
      before = earlier;
    }
    syncwarp();
    const float inverse = inverse_sum(before);
#pragma unroll
    for (int i = 0; i < Shape::kLaneDims; ++i) {
      const int dim = lane + i * 32;
      if (dim >= arguments.head_dim) continue;
      float* partial = arguments.partials.outputs + index * arguments.head_dim + dim;
      const float value = joins ? join_output(weights, ldg(partial), joined[i]) : joined[i];
      if (out != nullptr) {
        stg(out + dim, narrow<E>(value * inverse));
      } else {
        stg(partial, value);
      }
    }
    if (out == nullptr && lane == 0) store_stats(arguments.partials, index, before);
    clear_entry();
    // What one lane has written, others read behind the next entry.
    syncwarp();
  }
};

// Grid: tiles x kv heads, as attention_mma_kernel.
template <typename E>
__global__ void __launch_bounds__(AttentionPlainShape::kThreads, 1)
    attention_plain_kernel(AttentionArguments arguments) {
  using Shape = AttentionPlainShape;
  const auto block = static_cast<int>(blockIdx.x);
  const int kv_head = block % arguments.kv_heads;
  const AttentionTile* tile = arguments.tiles + block / arguments.kv_heads;
  const int rows = ldg(&tile->tokens) * arguments.group;
  const bool results_wanted = ldg(&tile->results) != 0;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  PlainRow<E> row;
  row.lane = static_cast<int>(threadIdx.x) % 32;
  row.query = shared_base() + static_cast<uint32_t>(warp) * Shape::kMaxDim * 4;
  for (int packed = warp; packed < rows; packed += Shape::kWarps) {
    const AttentionToken* token =
        arguments.tokens + ldg(&tile->first_token) + packed / arguments.group;
    const int head = packed % arguments.group;
    const int64_t column = int64_t{kv_head * arguments.group + head} * arguments.head_dim;
    const E* q =
        static_cast<const E*>(arguments.q) + ldg(&token->row) * arguments.q_stride + column;
    const int token_rotation = ldg(&token->rotation);

    row.clear_cut();
    row.clear_entry();
    E* out = static_cast<E*>(arguments.out) + ldg(&token->row) * arguments.out_stride + column;
    const auto leave = [&](int entry) {
      const bool ends = results_wanted && is_last_entry(tile, entry);
      row.leave(arguments, ends ? out : nullptr,
                partial_index(token, kv_head, results_wanted ? 0 : entry, head),
                results_wanted && entry > 0);
    };
    auto entries = EntryWalk::begin(tile);
    int segment = -1;
    int cut = 0;
    KeyRange seen{};
    for (auto walk = KeyWalk<Shape::kKeys>::begin(arguments, tile); !walk.over();
         walk.next(arguments, tile)) {
      const bool entered = walk.segment != segment;
      if (segment >= 0 && (entered || walk.cut() != cut)) row.end_cut();
      entries.go_to(tile, walk.cut(), leave);
      if (entered) {
        const int rotation = walk.rotation + token_rotation;
        row.rotate(arguments, q, rotation);
        seen = visible_keys(rotation, walk.length, arguments.window);
      }
      segment = walk.segment;
      cut = walk.cut();
      row.attend(arguments, walk, seen, kv_head);
    }
    row.end_cut();
    entries.finish(tile, leave);
  }
}

}  // namespace block_attention::cuda
