#include "emulator/regions.hpp"

#include <algorithm>
#include <string>

#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {

void Regions::add(const void* data, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  ranges_[begin] = {begin, begin + bytes};
}

void Regions::remove(const void* data) {
  ranges_.erase(reinterpret_cast<uintptr_t>(data));
  std::fill(std::begin(recent_), std::end(recent_), Range{});
}

bool Regions::contain(const void* data, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(data);
  for (const Range& range : recent_) {
    if (range.holds(at, bytes)) return true;
  }
  auto after = ranges_.upper_bound(at);
  if (after == ranges_.begin()) return false;
  const Range& range = std::prev(after)->second;
  if (!range.holds(at, bytes)) return false;
  recent_[next_++ % 4] = range;
  return true;
}

Regions& device_memory() {
  static Regions regions;
  return regions;
}

Regions& pinned_memory() {
  static Regions regions;
  return regions;
}

void check_global(const char* operation, const void* data, size_t bytes, size_t alignment,
                  const std::source_location& place) {
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    fail(std::string(operation) + ": misaligned global address", place);
  }
  if (!device_memory().contain(data, bytes)) {
    fail(std::string(operation) + ": global address out of bounds", place);
  }
}

}  // namespace block_attention::cuda::emulator
