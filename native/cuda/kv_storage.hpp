// The memory of a page pool on the device.
//
// A page is [layer][kv_head]{K: [16 slots][head_dim], V: [16 slots][head_dim]} of bf16 or f16. What
// one (layer, head) reads of a page is contiguous, K and V rows are 16-byte aligned (head_dim is a
// multiple of 16). Pages have the CPU's size, so that a block takes as many pages on either.
#pragma once

#include "cuda/device.hpp"
#include "model/backend.hpp"

namespace block_attention::cuda {

inline constexpr int32_t kPageTokens = 16;

// What kernels need to find a row: plain data, passed by value.
struct KvView {
  char* data = nullptr;
  int64_t page_bytes = 0;
  int64_t layer_bytes = 0;
  int64_t head_bytes = 0;  // K and V of one (layer, head): 2 * kPageTokens * head_dim elements
  int32_t head_dim = 0;

#ifdef __CUDACC__
  __host__ __device__
#endif
      char*
      k(PageId page, int32_t layer, int32_t kv_head) const {
    return data + page * page_bytes + layer * layer_bytes + kv_head * head_bytes;
  }
#ifdef __CUDACC__
  __host__ __device__
#endif
      char*
      v(PageId page, int32_t layer, int32_t kv_head) const {
    return k(page, layer, kv_head) + head_bytes / 2;
  }
};

class CudaKvStorage final : public KvStorage {
 public:
  static size_t bytes_per_page(const KvShape& shape);

  // Throws Error(kUnsupported) for a shape or type that the kernels do not take,
  // Error(kOutOfMemory).
  CudaKvStorage(Device& device, const KvShape& shape, int32_t pages);

  int32_t pages() const override { return pages_; }
  int32_t page_tokens() const override { return kPageTokens; }
  size_t page_bytes() const override { return bytes_per_page(shape_); }
  const KvShape& shape() const { return shape_; }
  KvView view() const;

 private:
  KvShape shape_;
  int32_t pages_;
  Buffer memory_;
};

}  // namespace block_attention::cuda
