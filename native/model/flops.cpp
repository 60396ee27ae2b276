#include "model/flops.hpp"

#include <algorithm>

namespace block_attention {
namespace {

// sum over r in [first, first + rows) of clamp(r, 0, most).
int64_t sum_clamped(int64_t first, int64_t rows, int64_t most) {
  const auto below = [most](int64_t end) {  // sum over r in [0, end)
    const int64_t rising = std::clamp<int64_t>(end, 0, most);
    return rising * (rising - 1) / 2 + std::max<int64_t>(end - rising, 0) * most;
  };
  return below(std::max<int64_t>(first + rows, 0)) - below(std::max<int64_t>(first, 0));
}

}  // namespace

int64_t visible_pairs(const StepSequence& sequence, int32_t first_row, int32_t rows,
                      int32_t window) {
  int64_t pairs = 0;
  for (const StepSegment& segment : sequence.segments) {
    // A row with rotation r sees the keys below min(length, r + 1), of which the window hides those
    // below r + 1 - window.
    const int64_t first = int64_t{segment.rotation} + first_row + 1;
    pairs += sum_clamped(first, rows, segment.length);
    if (window > 0) pairs -= sum_clamped(first - window, rows, segment.length);
  }
  return pairs;
}

}  // namespace block_attention
