// Weights in buckets in shared memory, and the bucket in which a running sum reaches a number: what
// selection without sorting is made of. Everything is integers, so that the order in which threads
// add is of no consequence.
#pragma once

#include "cuda/primitives.cuh"

namespace block_attention::cuda {

constexpr int32_t kBuckets = 2048;
constexpr int32_t kBucketBits = 11;
constexpr int32_t kGroups = 32;  // one lane each
constexpr int32_t kGroupBuckets = kBuckets / kGroups;

// Offsets into the block's shared memory. The halves of a bucket's 64 bits lie apart, since shared
// memory counts in 32.
constexpr uint32_t kLowHalves = 0;
constexpr uint32_t kHighHalves = kLowHalves + 4 * kBuckets;
constexpr uint32_t kGroupSums = kHighHalves + 4 * kBuckets;  // uint64, of all groups up to this one
constexpr uint32_t kFoundAt = kGroupSums + 8 * kGroups;      // two times 16 bytes
constexpr uint32_t kWarpPeaks = kFoundAt + 32;               // one per warp, and the row's
constexpr uint32_t kAppended = kWarpPeaks + 8 * 33;
constexpr uint32_t kSamplingSharedBytes = kAppended + 8;

DEVICE_FN int32_t lane_id() { return static_cast<int32_t>(threadIdx.x % 32); }
DEVICE_FN int32_t warp_id() { return static_cast<int32_t>(threadIdx.x / 32); }
DEVICE_FN int32_t block_warps() { return static_cast<int32_t>(blockDim.x / 32); }

DEVICE_FN uint64_t join(uint32_t low, uint32_t high) { return (uint64_t{high} << 32) | low; }
DEVICE_FN U32x2 split(uint64_t value) {
  return {{static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)}};
}
DEVICE_FN uint64_t lds_u64(uint32_t address) {
  const U32x2 halves = lds<U32x2>(address);
  return join(halves.x[0], halves.x[1]);
}

DEVICE_FN void set_bucket(uint32_t shared, int32_t bucket, uint64_t value) {
  const uint32_t at = shared + 4 * static_cast<uint32_t>(bucket);
  sts<uint32_t>(at + kLowHalves, static_cast<uint32_t>(value));
  sts<uint32_t>(at + kHighHalves, static_cast<uint32_t>(value >> 32));
}

DEVICE_FN void add_to_bucket(uint32_t shared, uint32_t bucket, uint64_t value) {
  const uint32_t low = static_cast<uint32_t>(value);
  const uint32_t before = atomic_add_shared(shared + kLowHalves + 4 * bucket, low);
  // Every overflow of the low half is seen by the one thread that caused it.
  const uint32_t carry = before + low < before ? 1 : 0;
  const uint32_t high = static_cast<uint32_t>(value >> 32) + carry;
  if (high != 0) atomic_add_shared(shared + kHighHalves + 4 * bucket, high);
}

DEVICE_FN uint64_t bucket_value(uint32_t shared, int32_t bucket) {
  const uint32_t at = shared + 4 * static_cast<uint32_t>(bucket);
  return join(lds<uint32_t>(at + kLowHalves), lds<uint32_t>(at + kHighHalves));
}

DEVICE_FN uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += shfl_xor(value, mask);
  return value;
}

// Of the lanes up to this one.
DEVICE_FN uint64_t warp_running_sum(uint64_t value) {
#pragma unroll
  for (int delta = 1; delta < 32; delta *= 2) {
    const uint64_t other = shfl_up(value, delta);
    if (lane_id() >= delta) value += other;
  }
  return value;
}

// The sum of all buckets, known to every thread. Before find_bucket().
DEVICE_FN uint64_t sum_buckets(uint32_t shared) {
  const int32_t lane = lane_id();
  syncthreads();
  for (int32_t group = warp_id(); group < kGroups; group += block_warps()) {
    const int32_t first = group * kGroupBuckets;
    uint64_t sum = 0;
#pragma unroll
    for (int32_t i = 0; i < kGroupBuckets; i += 32) sum += bucket_value(shared, first + i + lane);
    sum = warp_sum(sum);
    if (lane == 0) sts<U32x2>(shared + kGroupSums + 8 * static_cast<uint32_t>(group), split(sum));
  }
  syncthreads();
  if (warp_id() == 0) {
    const uint32_t at = shared + kGroupSums + 8 * static_cast<uint32_t>(lane);
    sts<U32x2>(at, split(warp_running_sum(lds_u64(at))));
  }
  syncthreads();
  return lds_u64(shared + kGroupSums + 8 * (kGroups - 1));
}

struct FoundBucket {
  int32_t bucket;
  uint64_t rest;  // what of the number is left for this bucket, at least 1
};

// The first bucket at which the running sum reaches `number`, which is from 1 to the sum of all.
// Known to every thread.
DEVICE_FN FoundBucket find_bucket(uint32_t shared, uint64_t number) {
  static_assert(kGroupBuckets == 64);
  if (warp_id() == 0) {
    const int32_t lane = lane_id();
    const uint32_t at = shared + kGroupSums + 8 * static_cast<uint32_t>(lane);
    const uint64_t up_to = lds_u64(at);
    const uint64_t before = lane == 0 ? 0 : lds_u64(at - 8);
    if (before < number && number <= up_to) {
      const U32x2 rest = split(number - before);
      sts<U32x4>(shared + kFoundAt, {{static_cast<uint32_t>(lane), 0, rest.x[0], rest.x[1]}});
    }
    syncwarp();
    const U32x4 group = lds<U32x4>(shared + kFoundAt);
    const uint64_t rest = join(group.x[2], group.x[3]);
    const int32_t bucket = static_cast<int32_t>(group.x[0]) * kGroupBuckets + 2 * lane;
    const uint64_t first = bucket_value(shared, bucket);
    const uint64_t both = first + bucket_value(shared, bucket + 1);
    const uint64_t behind = warp_running_sum(both);
    const uint64_t ahead = behind - both;
    if (ahead < rest && rest <= behind) {
      const bool second = rest > ahead + first;
      const U32x2 left = split(rest - ahead - (second ? first : 0));
      sts<U32x4>(shared + kFoundAt + 16,
                 {{static_cast<uint32_t>(second ? bucket + 1 : bucket), 0, left.x[0], left.x[1]}});
    }
  }
  syncthreads();
  const U32x4 found = lds<U32x4>(shared + kFoundAt + 16);
  return {static_cast<int32_t>(found.x[0]), join(found.x[2], found.x[3])};
}

}  // namespace block_attention::cuda
