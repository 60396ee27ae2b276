#include "allocations.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace {

std::atomic<uint64_t> count{0};

std::atomic<bool> failing{false};
std::atomic<bool> failed{false};
std::atomic<uint64_t> attempts{0};
std::atomic<uint64_t> first_failure{0};
std::atomic<uint64_t> failures{0};
std::atomic<block_attention::test::Whose> concerned{};
thread_local bool this_thread = false;

bool has_to_fail() noexcept {
  using block_attention::test::Whose;
  if (!failing) return false;
  if (concerned != Whose::kEverybody && this_thread != (concerned == Whose::kThisThread))
    return false;
  const uint64_t attempt = attempts.fetch_add(1);
  if (attempt < first_failure || attempt - first_failure >= failures) return false;
  failed = true;
  return true;
}

[[maybe_unused]] void* counted_or_null(size_t bytes, size_t alignment) noexcept {
  count.fetch_add(1, std::memory_order_relaxed);
  if (has_to_fail()) return nullptr;
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  return std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
}

[[maybe_unused]] void* counted(size_t bytes, size_t alignment) {
  void* memory = counted_or_null(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

#ifndef BLOCK_ATTENTION_FOREIGN_NEW
// Not inlined: the compiler would take free() for the wrong partner of what it sees as the built-in
// operator new.
[[gnu::noinline]] void* operator new(size_t bytes) {
  return counted(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
[[gnu::noinline]] void* operator new[](size_t bytes) {
  return counted(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t align) {
  return counted(bytes, static_cast<size_t>(align));
}
[[gnu::noinline]] void* operator new[](size_t bytes, std::align_val_t align) {
  return counted(bytes, static_cast<size_t>(align));
}
// These too, or a sanitizer's own would serve them.
[[gnu::noinline]] void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
[[gnu::noinline]] void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t align,
                                     const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<size_t>(align));
}
[[gnu::noinline]] void* operator new[](size_t bytes, std::align_val_t align,
                                       const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<size_t>(align));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}
#endif

namespace block_attention::test {

uint64_t allocation_count() { return count.load(std::memory_order_relaxed); }

FailingAllocations::FailingAllocations(Whose whose, uint64_t first, uint64_t count) {
  this_thread = true;
  concerned = whose;
  failed = false;
  attempts = 0;
  first_failure = first;
  failures = count;
  failing = true;
}

FailingAllocations::~FailingAllocations() {
  failing = false;
  this_thread = false;
}

bool FailingAllocations::happened() { return failed; }

TEST(AllocationCountTest, CountsAVectorOnce) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  const uint64_t before = allocation_count();
  std::vector<int> values(100);
  EXPECT_EQ(allocation_count() - before, 1u);
  values.push_back(1);
  EXPECT_EQ(allocation_count() - before, 2u);
}

// The first of three allocations that fails; 3: none.
int first_that_fails() {
  int done = 0;
  try {
    for (; done < 3; ++done) {
      int* volatile memory = new int;  // volatile: it is not to be optimised away
      delete memory;
    }
  } catch (const std::bad_alloc&) {
  }
  return done;
}

TEST(FailingAllocationsTest, FailsTheChosenOnesOfTheChosenThreads) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  const auto here = [](Whose whose, uint64_t first, uint64_t count) {
    const FailingAllocations memory(whose, first, count);
    const int done = first_that_fails();
    return std::pair(done, FailingAllocations::happened());
  };
  constexpr uint64_t kAll = FailingAllocations::kAllFurther;
  EXPECT_EQ(here(Whose::kThisThread, 0, 1), std::pair(0, true));
  EXPECT_EQ(here(Whose::kThisThread, 2, kAll), std::pair(2, true));
  EXPECT_EQ(here(Whose::kThisThread, 3, 1), std::pair(3, false));
  EXPECT_EQ(here(Whose::kEverybody, 1, 1), std::pair(1, true));
  EXPECT_EQ(here(Whose::kOtherThreads, 0, kAll), std::pair(3, false));

  const auto elsewhere = [](Whose whose) {
    int done = -1;
    std::atomic<bool> go{false};
    std::thread other([&] {
      while (!go) std::this_thread::yield();
      done = first_that_fails();
    });
    const FailingAllocations memory(whose, 1, kAll);
    go = true;
    other.join();
    return done;
  };
  EXPECT_EQ(elsewhere(Whose::kThisThread), 3);
  EXPECT_EQ(elsewhere(Whose::kOtherThreads), 1);
}

}  // namespace block_attention::test
