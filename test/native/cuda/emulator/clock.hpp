// Happens-before, by vector clocks (FastTrack, Flanagan & Freund 2009).
//
// A barrier of the whole block orders everything before it against everything after it. It starts a
// new generation, in which all clocks count from 1 again: what an older generation did needs no
// look at a clock, and clocks need no room before a warp or a part of the block synchronises.
#pragma once

#include <cstdint>
#include <vector>

namespace block_attention::cuda::emulator {

// What a thread, or something that hands knowledge on, has seen of the others.
class Clock {
 public:
  // How far thread `thread` has come, of this generation.
  uint16_t seen(uint32_t generation, uint32_t thread) const {
    return generation_ == generation && thread < threads_.size() ? threads_[thread] : 0;
  }
  void see(uint32_t generation, uint32_t thread, uint16_t clock);
  // The phases that the mbarrier of this index has ended; they outlive generations.
  uint32_t seen_phase(uint32_t mbarrier) const {
    return mbarrier < phases_.size() ? phases_[mbarrier] : 0;
  }
  void see_phase(uint32_t mbarrier, uint32_t phase);

  void join(uint32_t generation, const Clock& other);
  void join_phases(const Clock& other);
  void forget();

 private:
  uint32_t generation_ = 0;
  std::vector<uint16_t> threads_;
  std::vector<uint32_t> phases_;
};

}  // namespace block_attention::cuda::emulator
