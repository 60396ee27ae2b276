// Counter-based random numbers: the value at an index depends on the seed and that index alone,
// never on what was drawn before, by whom, or on which machine. The generator is splitmix64
// (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"), entered at any
// index.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace block_attention {

constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15u;

// The output function of splitmix64: a bijection in which every input bit reaches every output bit.
constexpr uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The number at `index` of the stream of `seed`. The seed is mixed first, so the streams of seeds
// 1, 2, 3, ... lie far apart.
constexpr uint64_t random_u64(uint64_t seed, uint64_t index) {
  return mix64(mix64(seed + kGoldenGamma) + (index + 1) * kGoldenGamma);
}

// Uniform in [0, 1), a multiple of 2^-53.
constexpr double random_uniform(uint64_t seed, uint64_t index) {
  return static_cast<double>(random_u64(seed, index) >> 11) * 0x1p-53;
}

// Bell-shaped with mean 0 and standard deviation 1: the sum of four 16-bit uniforms (Irwin-Hall),
// within +-3.465. Close enough to a normal for random weights, and free of log and cos, whose last
// bits differ between C libraries.
constexpr float random_normal(uint64_t seed, uint64_t index) {
  // One 16-bit uniform has mean 65535 / 2 and variance (65536^2 - 1) / 12; four of them,
  // sqrt((65536^2 - 1) / 3).
  constexpr int32_t kMean = 2 * 65535;
  constexpr float kInverseDeviation = 1.0f / 37837.2272372f;
  const uint64_t bits = random_u64(seed, index);
  const uint64_t sum =
      (bits & 0xffffu) + ((bits >> 16) & 0xffffu) + ((bits >> 32) & 0xffffu) + (bits >> 48);
  return static_cast<float>(static_cast<int32_t>(sum) - kMean) * kInverseDeviation;
}

// Elements begin .. begin + count - 1 of an endless random array with standard deviation `scale`,
// written to out[0 .. count - 1] in `dtype`. However the array is cut into calls, it is the same.
void fill_random(DType dtype, float scale, uint64_t seed, uint64_t begin, size_t count, void* out);

}  // namespace block_attention
