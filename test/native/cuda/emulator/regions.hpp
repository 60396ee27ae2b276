// The memory that Device handed out. Process-wide, since a kernel may use memory of any device
// object, and buffers may outlive theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <source_location>

#include "emulator/written.hpp"

namespace block_attention::cuda::emulator {

// Disjoint ranges of addresses.
class Regions {
 public:
  struct Range {
    uintptr_t begin = 0;
    uintptr_t end = 0;
    WrittenMemory* written = nullptr;  // of memory that kernels use
    bool holds(uintptr_t at, size_t bytes) const {
      return at >= begin && at < end && bytes <= end - at;
    }
  };

  void add(const void* data, size_t bytes, bool used_by_kernels);
  void remove(const void* data);
  // The range that holds all of it; null if none does. Until the next call.
  const Range* find(const void* data, size_t bytes);
  bool contain(const void* data, size_t bytes) { return find(data, bytes) != nullptr; }

 private:
  struct Owned {
    Range range;
    std::unique_ptr<WrittenMemory> written;
  };

  std::map<uintptr_t, Owned> ranges_;
  Range recent_[4];  // found last
  unsigned next_ = 0;
};

Regions& device_memory();
Regions& pinned_memory();

// How a thread accesses device memory. kConstant: it stays as it is while the launch runs.
enum class GlobalAccess : uint8_t { kRead, kConstant, kWrite };

// Fails unless the running thread may access these bytes.
void check_global(GlobalAccess access, const char* operation, const void* data, size_t bytes,
                  size_t alignment, const std::source_location& place);

}  // namespace block_attention::cuda::emulator
