// The passes of one block over a row of logits in global memory. NaN counts as -inf everywhere.
// Thresholds are finite, so a logit of -inf is never kept.
#pragma once

#include "cuda/sampling_shared.cuh"

namespace block_attention::cuda {

constexpr float kLowestLogit = -3.402823466e38f;
constexpr float kHighestLogit = 3.402823466e38f;
constexpr uint32_t kMinusInfinityBits = 0xff800000u;
constexpr uint32_t kNanBits = 0x7fc00000u;

// What a warp reads at a time: 16 logits per lane, four loads in flight.
constexpr int32_t kPiece = 512;
// A chunk of a row, whose sum is one bucket, is then at most kBuckets logits.
constexpr int32_t kMaxSampledVocab = 4000000;

struct LogitsRow {
  float* logits;
  int32_t vocab;
  int32_t misaligned;        // logits by which the row's start is behind a 16-byte boundary
  int32_t pieces;            // from that boundary on
  int32_t pieces_per_chunk;  // 1 up to a million logits
};

DEVICE_FN LogitsRow logits_row(float* logits, int32_t vocab) {
  LogitsRow row;
  row.logits = logits;
  row.vocab = vocab;
  row.misaligned = static_cast<int32_t>(reinterpret_cast<uintptr_t>(logits) / sizeof(float) % 4);
  row.pieces = (vocab + row.misaligned + kPiece - 1) / kPiece;
  row.pieces_per_chunk = (row.pieces + kBuckets - 1) / kBuckets;
  return row;
}

// Calls visit(id, logit) for this lane's logits of a piece in the order of their ids; outside of
// the row the logit is NaN.
template <typename Visit>
DEVICE_FN void visit_piece(const LogitsRow& row, int32_t piece, const Visit& visit) {
  const int32_t begin = piece * kPiece - row.misaligned;
  const int32_t first = begin + 4 * lane_id();
  F32x4 x[4];
  if (begin >= 0 && begin + kPiece <= row.vocab) {
#pragma unroll
    for (int32_t j = 0; j < 4; ++j) {
      x[j] = ldg(reinterpret_cast<const F32x4*>(row.logits + first + 128 * j));
    }
  } else {
#pragma unroll
    for (int32_t j = 0; j < 4; ++j) {
#pragma unroll
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t id = first + 128 * j + i;
        x[j].x[i] =
            id >= 0 && id < row.vocab ? ldg(row.logits + id) : bits_as<float>(uint32_t{kNanBits});
      }
    }
  }
#pragma unroll
  for (int32_t j = 0; j < 4; ++j) {
#pragma unroll
    for (int32_t i = 0; i < 4; ++i) visit(first + 128 * j + i, x[j].x[i]);
  }
}

template <typename Visit>
DEVICE_FN void visit_row(const LogitsRow& row, const Visit& visit) {
#pragma unroll 1
  for (int32_t piece = warp_id(); piece < row.pieces; piece += block_warps()) {
    visit_piece(row, piece, visit);
  }
}

// ---- the largest logit

struct RowPeak {
  float value;
  int32_t index;
};

DEVICE_FN bool ahead_of(const RowPeak& a, const RowPeak& b) {
  return a.value > b.value || (a.value == b.value && a.index < b.index);
}

DEVICE_FN RowPeak warp_peak(RowPeak best) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) {
    const RowPeak other = {shfl_xor(best.value, mask), shfl_xor(best.index, mask)};
    if (ahead_of(other, best)) best = other;
  }
  return best;
}

// The largest logit and the lowest id that has it; {-inf, 0} if none is larger than -inf. Known to
// every thread.
DEVICE_FN RowPeak find_peak(uint32_t shared, const LogitsRow& row) {
  const RowPeak none = {bits_as<float>(uint32_t{kMinusInfinityBits}), 0};
  RowPeak best = none;
  visit_row(row, [&](int32_t id, float logit) {
    if (logit > best.value) best = {logit, id};
  });
  best = warp_peak(best);
  const uint32_t peaks = shared + kWarpPeaks;
  const uint32_t all = peaks + 8 * 32;
  if (lane_id() == 0) sts<RowPeak>(peaks + 8 * static_cast<uint32_t>(warp_id()), best);
  syncthreads();
  if (warp_id() == 0) {
    best = none;
    if (lane_id() < block_warps()) {
      best = lds<RowPeak>(peaks + 8 * static_cast<uint32_t>(lane_id()));
    }
    best = warp_peak(best);
    if (lane_id() == 0) sts<RowPeak>(all, best);
  }
  syncthreads();
  return lds<RowPeak>(all);
}

// ---- which tokens, and what they weigh

// Those with low <= logit <= high, of those that equal `low` only ids up to last_low.
struct LogitRange {
  float low;
  float high;
  int32_t last_low;

  __device__ __forceinline__ bool has(int32_t id, float logit) const {
    return logit >= low && logit <= high && (logit > low || id <= last_low);
  }
};

// 2^((logit - max) * exponent_scale) in units of 1 / one; or, to count tokens, 1.
struct Weigher {
  float max;
  float exponent_scale;
  float one;
  bool counting;

  __device__ __forceinline__ uint64_t weight(float logit) const {
    if (counting) return 1;
    const float distance = logit - max;
    // The scale of the smallest temperatures is infinite.
    const float weight = distance == 0 ? 1.0f : exp2_approx(distance * exponent_scale);
    return static_cast<uint64_t>(weight * one);
  }
};

DEVICE_FN Weigher counter() { return {0, 0, 0, true}; }

// ---- selection by id

// One bucket for each chunk of the row, and the sum of all.
DEVICE_FN uint64_t sum_chunks(uint32_t shared, const LogitsRow& row, const LogitRange& range,
                              const Weigher& weigher) {
  const int32_t chunks = (row.pieces + row.pieces_per_chunk - 1) / row.pieces_per_chunk;
  for (int32_t i = chunks + static_cast<int32_t>(threadIdx.x); i < kBuckets;
       i += static_cast<int32_t>(blockDim.x)) {
    set_bucket(shared, i, 0);
  }
#pragma unroll 1
  for (int32_t chunk = warp_id(); chunk < chunks; chunk += block_warps()) {
    uint64_t sum = 0;
#pragma unroll 1
    for (int32_t i = 0; i < row.pieces_per_chunk; ++i) {
      visit_piece(row, chunk * row.pieces_per_chunk + i, [&](int32_t id, float logit) {
        if (range.has(id, logit)) sum += weigher.weight(logit);
      });
    }
    sum = warp_sum(sum);
    if (lane_id() == 0) set_bucket(shared, chunk, sum);
  }
  return sum_buckets(shared);
}

// After sum_chunks() with the same range and weigher: the token at which the running sum in the
// order of ids reaches `number`, from 1 to the sum of all.
DEVICE_FN int32_t select_id(uint32_t shared, const LogitsRow& row, const LogitRange& range,
                            const Weigher& weigher, uint64_t number) {
  const FoundBucket chunk = find_bucket(shared, number);
  const int32_t size = row.pieces_per_chunk * kPiece;
  const int32_t first = chunk.bucket * size - row.misaligned;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kBuckets;
       i += static_cast<int32_t>(blockDim.x)) {
    const int32_t id = first + i;
    uint64_t weight = 0;
    if (i < size && id >= 0 && id < row.vocab) {
      const float logit = ldg(row.logits + id);
      if (range.has(id, logit)) weight = weigher.weight(logit);
    }
    set_bucket(shared, i, weight);
  }
  sum_buckets(shared);
  return first + find_bucket(shared, chunk.rest).bucket;
}

// ---- selection by logit

// The bits of a float as an unsigned number in the order of the floats; -0 counts as 0.
DEVICE_FN uint32_t rank_of(float logit) {
  const uint32_t bits = logit == 0 ? 0 : bits_as<uint32_t>(logit);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

DEVICE_FN float logit_of(uint32_t rank) {
  return bits_as<float>((rank & 0x80000000u) != 0 ? rank & 0x7fffffffu : ~rank);
}

struct SelectedLogit {
  bool found;
  float logit;
  uint64_t rest;  // what of the number is left for the tokens with this logit, at least 1
  uint64_t all;   // what they weigh together
};

// The logit at which the running sum, from `high` down to `low`, reaches `number` (at least 1). Not
// found if the sum of all is less. Radix selection: a pass narrows the ranks down to one of 2048
// buckets, three at most to a single one.
DEVICE_FN SelectedLogit select_logit(uint32_t shared, const LogitsRow& row, float low, float high,
                                     const Weigher& weigher, uint64_t number) {
  const uint32_t top = rank_of(high);
  const uint32_t span = top - rank_of(low);
  int32_t bits = 0;
  while (bits < 32 && (span >> bits) != 0) ++bits;
  uint32_t base = 0;  // ranks below the top one, where the bits that are left begin
  SelectedLogit selected = {false, low, 0, 0};
  do {
    const int32_t shift = bits > kBucketBits ? bits - kBucketBits : 0;
    const uint32_t buckets = uint32_t{1} << (bits - shift);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kBuckets;
         i += static_cast<int32_t>(blockDim.x)) {
      set_bucket(shared, i, 0);
    }
    syncthreads();
    visit_row(row, [&](int32_t, float logit) {
      if (!(logit >= low && logit <= high)) return;
      const uint32_t bucket = (top - rank_of(logit) - base) >> shift;
      if (bucket < buckets) add_to_bucket(shared, bucket, weigher.weight(logit));
    });
    if (sum_buckets(shared) < number) return selected;
    const FoundBucket found = find_bucket(shared, number);
    selected.all = bucket_value(shared, found.bucket);
    // Others may go on to clear it.
    syncthreads();
    base += static_cast<uint32_t>(found.bucket) << shift;
    number = found.rest;
    bits = shift;
  } while (bits > 0);
  selected.found = true;
  selected.logit = logit_of(top - base);
  selected.rest = number;
  return selected;
}

}  // namespace block_attention::cuda
