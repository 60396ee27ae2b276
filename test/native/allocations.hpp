// operator new as the tests see it (the test executable replaces it): how often it was called, for
// tests that nothing allocates after warm-up, and memory that runs out at a chosen moment.
#pragma once

#include <cstdint>
#include <limits>

namespace block_attention::test {

// clang's thread sanitizer links an operator new of its own; g++'s leaves it to us.
#if defined(__clang__)
#if __has_feature(thread_sanitizer)
#define BLOCK_ATTENTION_FOREIGN_NEW
#endif
#endif
#ifdef BLOCK_ATTENTION_FOREIGN_NEW
inline constexpr bool kSeesAllocations = false;
#else
inline constexpr bool kSeesAllocations = true;
#endif

// At the beginning of a test that needs it.
#define SKIP_UNLESS_ALLOCATIONS_ARE_SEEN()        \
  if (!::block_attention::test::kSeesAllocations) \
  GTEST_SKIP() << "operator new is the thread sanitizer's"

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
