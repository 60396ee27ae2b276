// cos and sin (rope_angles) of the integer positions that occur, for all layers.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/aligned_floats.hpp"

namespace block_attention {

class RopeTable {
 public:
  // inv_freq has rotary_dim / 2 entries; `factor` multiplies cos and sin.
  RopeTable(std::vector<double> inv_freq, double factor);

  int32_t half() const { return static_cast<int32_t>(inv_freq_.size()); }

  // Makes row() valid for positions below `positions`. Grows by blocks and never shrinks; not
  // thread-safe.
  void ensure(int64_t positions);
  // cos of the position's half() angles, then their sin.
  const float* row(int32_t position) const {
    return blocks_[static_cast<size_t>(position / kBlock)].data() +
           static_cast<size_t>(position % kBlock) * 2 * inv_freq_.size();
  }

 private:
  static constexpr int32_t kBlock = 256;

  std::vector<double> inv_freq_;
  double factor_;
  std::vector<AlignedFloats> blocks_;
};

}  // namespace block_attention
