#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/attention_kernels.hpp"

namespace block_attention {

// The pages of the next cut, asked for line by line beside what computes: all at once would hold up
// what that loads. Lines of kStreams pages take turns, since memory answers as many streams sooner
// than one.
class LinesAhead {
 public:
  // `next`, which may be null, in about so many turns.
  LinesAhead(const AttentionCut* next, int32_t head_dim, int32_t turns)
      : page_bytes_(kPanel * head_dim * 2) {
    for (int32_t p = 0; next != nullptr && p < kCutPages && next->k[p] != nullptr; ++p) {
      pages_[pages_end_++] = static_cast<const char*>(next->k[p]);
      pages_[pages_end_++] = static_cast<const char*>(next->v[p]);
    }
    // Asking for a line again costs nothing.
    for (; pages_end_ % kStreams != 0; ++pages_end_) pages_[pages_end_] = pages_[pages_end_ - 1];
    const int32_t rounds = pages_end_ / kStreams * (page_bytes_ / kLineBytes);
    rounds_a_turn_ = (rounds + turns - 1) / turns;
    turns_a_round_ = rounds > 0 ? std::max(1, turns / rounds) : 1;
  }
  // ask(line) for each line of a turn. What is asked for in a rush holds up what else is loaded.
  template <typename Ask>
  void take_turn(const Ask& ask) {
    if (++turn_ < turns_a_round_) return;
    turn_ = 0;
    for (int32_t i = 0; i < rounds_a_turn_ && page_ < pages_end_; ++i) {
      for (int32_t j = 0; j < kStreams; ++j) ask(pages_[page_ + j] + offset_);
      offset_ += kLineBytes;
      if (offset_ == page_bytes_) {
        offset_ = 0;
        page_ += kStreams;
      }
    }
  }

 private:
  static constexpr int32_t kStreams = 8;
  static constexpr int32_t kLineBytes = 64;
  static_assert(2 * kCutPages % kStreams == 0);

  const char* pages_[2 * kCutPages];
  int32_t pages_end_ = 0;
  int32_t page_ = 0;
  int32_t page_bytes_;
  int32_t offset_ = 0;
  int32_t rounds_a_turn_;
  int32_t turns_a_round_;  // one of the two is 1
  int32_t turn_ = 0;
};

}  // namespace block_attention
