#include "cpu/tile_parts.hpp"

#include <algorithm>

#include "cpu/row_groups.hpp"

namespace block_attention {

void for_each_tile_part(ThreadPool& pool, int64_t row_groups, int64_t blocks, int64_t panels,
                        int64_t chunk, FunctionRef<void(const TilePart& part, int worker)> body,
                        const NextReads& next) {
  const int64_t chunks = (panels + chunk - 1) / chunk;
  const auto run_part = [&](int64_t task, int worker) {
    const int64_t block = task / chunks;
    const int64_t first = task % chunks * chunk;
    const int64_t end = std::min(panels, first + chunk);
    body({group_begin(row_groups, blocks, block), group_begin(row_groups, blocks, block + 1), first,
          end, end},
         worker);
  };
  pool.run_in_order(blocks * chunks, run_part, next);
}

}  // namespace block_attention
