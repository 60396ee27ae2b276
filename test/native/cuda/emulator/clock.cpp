#include "emulator/clock.hpp"

#include <algorithm>

namespace block_attention::cuda::emulator {
namespace {

template <typename T>
void join_all(std::vector<T>& into, const std::vector<T>& from) {
  if (into.size() < from.size()) into.resize(from.size(), 0);
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

}  // namespace

void Clock::see(uint32_t generation, uint32_t thread, uint16_t clock) {
  if (generation_ != generation) {
    threads_.clear();
    generation_ = generation;
  }
  if (threads_.size() <= thread) threads_.resize(thread + 1, 0);
  threads_[thread] = std::max(threads_[thread], clock);
}

void Clock::see_phase(uint32_t mbarrier, uint32_t phase) {
  if (phases_.size() <= mbarrier) phases_.resize(mbarrier + 1, 0);
  phases_[mbarrier] = std::max(phases_[mbarrier], phase);
}

void Clock::join(uint32_t generation, const Clock& other) {
  join_phases(other);
  if (other.generation_ != generation || other.threads_.empty()) return;
  if (generation_ != generation) {
    threads_ = other.threads_;
    generation_ = generation;
  } else {
    join_all(threads_, other.threads_);
  }
}

void Clock::join_phases(const Clock& other) { join_all(phases_, other.phases_); }

void Clock::forget() {
  generation_ = 0;
  threads_.clear();
  phases_.clear();
}

}  // namespace block_attention::cuda::emulator
