// cos and sin (rope_angles) of all positions so far, on the device, for all layers.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device.hpp"

namespace block_attention::cuda {

class CudaRopeTable {
 public:
  // inv_freq has rotary_dim / 2 entries; `factor` multiplies cos and sin.
  CudaRopeTable(Device& device, std::vector<double> inv_freq, double factor);

  int32_t half() const { return static_cast<int32_t>(inv_freq_.size()); }
  const std::vector<double>& inv_freq() const { return inv_freq_; }

  // Makes the table hold positions below `positions`. At least doubles, so that it seldom has to;
  // then it waits. Throws Error(kOutOfMemory).
  void ensure(int64_t positions);

  // On the device: per position cos of half() angles, then their sin. Until the next ensure().
  const float* data() const { return static_cast<const float*>(memory_.data()); }

 private:
  Device& device_;
  std::vector<double> inv_freq_;
  double factor_;
  int64_t positions_ = 0;
  Buffer memory_;
};

}  // namespace block_attention::cuda
