// The memory that Device handed out. Process-wide, since a kernel may use memory of any device
// object, and buffers may outlive theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <source_location>

namespace block_attention::cuda::emulator {

// Disjoint ranges of addresses.
class Regions {
 public:
  void add(const void* data, size_t bytes);
  void remove(const void* data);
  // Whether one range holds all of it; none holds nothing at all.
  bool contain(const void* data, size_t bytes);

 private:
  struct Range {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    bool holds(uintptr_t at, size_t bytes) const {
      return at >= begin && at < end && bytes <= end - at;
    }
  };

  std::map<uintptr_t, Range> ranges_;
  Range recent_[4];  // found last
  unsigned next_ = 0;
};

Regions& device_memory();
Regions& pinned_memory();

// Fails unless the running thread may access these bytes of device memory.
void check_global(const char* operation, const void* data, size_t bytes, size_t alignment,
                  const std::source_location& place);

}  // namespace block_attention::cuda::emulator
