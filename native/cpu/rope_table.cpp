#include "cpu/rope_table.hpp"

#include <utility>

#include "model/rope_angles.hpp"

namespace block_attention {

RopeTable::RopeTable(std::vector<double> inv_freq, double factor)
    : inv_freq_(std::move(inv_freq)), factor_(factor) {}

void RopeTable::ensure(int64_t positions) {
  while (static_cast<int64_t>(blocks_.size()) * kBlock < positions) {
    AlignedFloats block;
    block.reserve(int64_t{kBlock} * 2 * half());
    const int64_t first = static_cast<int64_t>(blocks_.size()) * kBlock;
    for (int32_t i = 0; i < kBlock; ++i) {
      rope_angles(inv_freq_, factor_, first + i,
                  block.data() + static_cast<size_t>(i) * 2 * inv_freq_.size());
    }
    blocks_.push_back(std::move(block));
  }
}

}  // namespace block_attention
