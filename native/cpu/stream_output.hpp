// Whether the output of a product is better stored past the caches.
#pragma once

#include <cstdint>

#include "core/tensor.hpp"

namespace block_attention {

// An output of so many bytes a thread leaves the second-level cache before it is read, and stores
// wait for its lines to be read first. Rows shorter than a page of memory wait less than what reads
// them from memory would (7% of a prompt of 512 tokens of the 135M shape, on one thread).
inline constexpr int64_t kStreamBytes = int64_t{1} << 20;
inline constexpr int64_t kStreamRowBytes = 4096;

// `out` is float32. What goes past the caches begins at a cache line, and so does every row.
inline bool streams(const Tensor& out, int threads) {
  constexpr int64_t kLine = 64;
  constexpr int64_t kFloat = sizeof(float);
  return out.rows * out.cols * kFloat > kStreamBytes * threads &&
         out.cols * kFloat >= kStreamRowBytes &&
         reinterpret_cast<uintptr_t>(out.data) % kLine == 0 && out.stride * kFloat % kLine == 0;
}

}  // namespace block_attention
