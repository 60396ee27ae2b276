#include "cpu/copy_pages.hpp"

#include <cstring>

namespace block_attention {

void copy_pages(ThreadPool& pool, std::span<const PageCopy> copies, CpuKvStorage& kv) {
  pool.run(static_cast<int64_t>(copies.size()), [&](int64_t i, int) {
    const PageCopy& copy = copies[static_cast<size_t>(i)];
    std::memcpy(kv.k(copy.to, 0, 0), kv.k(copy.from, 0, 0), kv.page_bytes());
  });
}

}  // namespace block_attention
