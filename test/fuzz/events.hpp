// Collects what an engine reports, for a fuzzer that waits for the end of every sequence.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "engine/event.hpp"

namespace block_attention::fuzz {

// Ends the process, which is how a fuzzer is told of a finding.
[[noreturn]] inline void finding(const char* what) {
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

class Events {
 public:
  explicit Events(int32_t vocab_size) : vocab_size_(vocab_size) {}

  // The engine's sink. Every sequence ends once, with tokens of the vocabulary before.
  template <typename List>
  void take(const List& events) {
    const std::lock_guard lock(mutex_);
    for (const SequenceEvent& event : events) {
      if (ended_[event.id]) finding("an event after the last one of its sequence");
      ended_[event.id] = event.finish != Finish::kNone;
      for (int32_t token : event.tokens) {
        if (token < 0 || token >= vocab_size_) finding("a drawn token outside of the vocabulary");
      }
    }
    changed_.notify_all();
  }

  // Returns once condition() holds; it is looked at after every report, and now and then.
  template <typename Condition>
  void wait(const char* what, Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    std::unique_lock lock(mutex_);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) finding(what);
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
  }

 private:
  static constexpr std::chrono::seconds kPatience{20};

  const int32_t vocab_size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, bool> ended_;
};

}  // namespace block_attention::fuzz
