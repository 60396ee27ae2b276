// operator new as the tests see it (the test executable replaces it): how often it was called, for
// tests that nothing allocates after warm-up, and memory that runs out at a chosen moment.
#pragma once

#include <cstdint>
#include <limits>

namespace block_attention::test {

uint64_t allocation_count();

enum class Whose { kEverybody, kThisThread, kOtherThreads };

// While it lives, operator new fails for the allocations [first, first + count) of those threads,
// counted from its construction. One at a time.
class FailingAllocations {
 public:
  static constexpr uint64_t kAllFurther = std::numeric_limits<uint64_t>::max();

  FailingAllocations(Whose whose, uint64_t first, uint64_t count);
  ~FailingAllocations();
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;

  // Whether one has failed.
  static bool happened();
};

}  // namespace block_attention::test
