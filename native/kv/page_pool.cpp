#include "kv/page_pool.hpp"

#include <algorithm>
#include <string>

#include "core/error.hpp"

namespace block_attention {

PagePool::PagePool(int32_t pages, int32_t page_tokens) : pages_(pages), page_tokens_(page_tokens) {
  if (pages < 1 || page_tokens < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "the KV pool needs at least one page; raise cacheBytes");
  }
  free_.reserve(static_cast<size_t>(pages));
  for (PageId page = pages - 1; page >= 0; --page) free_.push_back(page);
}

int32_t PagePool::free_pages() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int32_t>(free_.size());
}

int32_t PagePool::most_held() const {
  const std::lock_guard lock(mutex_);
  return most_held_;
}

std::vector<PageId> PagePool::take(int64_t tokens) {
  const size_t count = static_cast<size_t>((tokens + page_tokens_ - 1) / page_tokens_);
  const std::lock_guard lock(mutex_);
  if (count > free_.size()) {
    throw Error(ErrorCode::kOutOfPages, "the KV pool has " + std::to_string(free_.size()) +
                                            " free pages, " + std::to_string(count) +
                                            " are needed");
  }
  std::vector<PageId> taken(free_.rbegin(), free_.rbegin() + static_cast<std::ptrdiff_t>(count));
  free_.resize(free_.size() - count);
  most_held_ = std::max(most_held_, pages_ - static_cast<int32_t>(free_.size()));
  return taken;
}

void PagePool::give_back(std::span<const PageId> pages) {
  const std::lock_guard lock(mutex_);
  free_.insert(free_.end(), pages.rbegin(), pages.rend());
}

}  // namespace block_attention
