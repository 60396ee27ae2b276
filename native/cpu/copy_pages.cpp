#include "cpu/copy_pages.hpp"

#include <cstring>

namespace block_attention {

void copy_pages(ThreadPool& pool, std::span<const PageCopy> copies, CpuKvStorage& kv) {
  pool.run(static_cast<int64_t>(copies.size()), [&](int64_t i, int) {
    const PageCopy& copy = copies[static_cast<size_t>(i)];
    for (int32_t layer = 0; layer < kv.shape().num_layers; ++layer)
      std::memcpy(kv.k(copy.to, layer, 0), kv.k(copy.from, layer, 0), kv.layer_bytes());
  });
}

}  // namespace block_attention
