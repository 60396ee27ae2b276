// The memory of a page pool on the CPU.
//
// A page is [layer][kv_head]{K: [head_dim][16 slots], V: [16 slots][head_dim]}, bf16 (of which
// pairs lie side by side: cpu/kv_layout.hpp), f32 or int8; in int8 the float32 scales of the 16
// slots stand behind K and behind V, one for each token and head, fixed when it is written: its
// greatest magnitude over 127 (cpu/kv_int8.hpp). In K the 16 keys of a page lie side by side, so
// that scores are computed with keys in vector lanes; in V the dims do. What one (layer, head)
// reads of a page is contiguous, and so is what a layer has of kRunPages pages: attention goes
// through a layer's keys, and pages whole would spread them over as many pages of the system as
// there are. The memory is reserved, not touched: a page that was never written costs none, or
// little.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kv_layout.hpp"
#include "model/backend.hpp"

namespace block_attention {

class CpuKvStorage : public KvStorage {
 public:
  static constexpr int32_t kPageTokens = kKvPageSlots;
  static constexpr int32_t kRunPages = 32;

  static size_t bytes_per_page(const KvShape& shape);

  // Throws Error(kInvalidArgument) for a shape that the kernels do not take, Error(kOutOfMemory).
  CpuKvStorage(const KvShape& shape, int32_t pages);

  int32_t pages() const override { return pages_; }
  int32_t page_tokens() const override { return kPageTokens; }
  size_t page_bytes() const override { return page_bytes_; }
  // Of a page, which lie together.
  size_t layer_bytes() const { return static_cast<size_t>(shape_.num_kv_heads) * 2 * part_bytes_; }
  const KvShape& shape() const { return shape_; }

  // K of one page, layer and kv head: element (dim, slot) at key_index().
  void* k(PageId page, int32_t layer, int32_t kv_head) const {
    const int32_t first = page / kRunPages * kRunPages;
    const int32_t run = pages_ - first < kRunPages ? pages_ - first : kRunPages;
    return static_cast<char*>(memory_.data()) + static_cast<size_t>(first) * page_bytes_ +
           static_cast<size_t>(int64_t{layer} * run + page - first) * layer_bytes() +
           static_cast<size_t>(kv_head) * 2 * part_bytes_;
  }
  // V: element (slot, dim) at value_index().
  void* v(PageId page, int32_t layer, int32_t kv_head) const {
    return static_cast<char*>(k(page, layer, kv_head)) + part_bytes_;
  }

  // One element of a key or a value, as attention takes it. (Slow: for tests.)
  float key(PageId page, int32_t layer, int32_t kv_head, int32_t slot, int32_t dim) const;
  float value(PageId page, int32_t layer, int32_t kv_head, int32_t slot, int32_t dim) const;

 private:
  KvShape shape_;
  int32_t pages_ = 0;
  size_t part_bytes_ = 0;  // of K or V of one page, layer and head
  size_t page_bytes_ = 0;
  Buffer memory_;
};

}  // namespace block_attention
