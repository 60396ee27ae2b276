// Which pages of the KV pool are free. Pages are numbers; their memory is a KvStorage of the
// backend. Invariants: a page is either free or in exactly one Block; free + held == pages().
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "model/step.hpp"

namespace block_attention {

class PagePool {
 public:
  PagePool(int32_t pages, int32_t page_tokens);

  int32_t pages() const { return pages_; }
  int32_t page_tokens() const { return page_tokens_; }
  int32_t pages_for(int64_t tokens) const {
    return static_cast<int32_t>((tokens + page_tokens_ - 1) / page_tokens_);
  }
  int32_t free_pages() const;
  // The most pages that were held at once. What is freed last is taken first, so this is also how
  // many pages were ever taken, and so may be resident.
  int32_t most_held() const;

  // Takes pages for `tokens` tokens; throws Error(kOutOfPages) and takes none if there are not
  // enough. Any thread.
  std::vector<PageId> take(int64_t tokens);
  void give_back(std::span<const PageId> pages);

 private:
  const int32_t pages_;
  const int32_t page_tokens_;
  mutable std::mutex mutex_;
  std::vector<PageId> free_;  // used as a stack: what was freed last is warm in the caches
  int32_t most_held_ = 0;
};

// The KV states of a span of tokens: pages for `capacity` tokens, given back when the last user
// drops the block.
class Block {
 public:
  Block(std::shared_ptr<PagePool> pool, int32_t capacity)
      : pool_(std::move(pool)), pages_(pool_->take(capacity)), capacity_(capacity) {}
  ~Block() { pool_->give_back(pages_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::span<const PageId> pages() const { return pages_; }
  int32_t page_tokens() const { return pool_->page_tokens(); }
  int32_t capacity() const { return capacity_; }

 private:
  std::shared_ptr<PagePool> pool_;
  std::vector<PageId> pages_;
  int32_t capacity_;
};

}  // namespace block_attention
