#include "emulator/regions.hpp"

#include <algorithm>
#include <string>

#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {

void Regions::add(const void* data, size_t bytes, bool used_by_kernels) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  Owned& owned = ranges_[begin];
  if (used_by_kernels) owned.written = std::make_unique<WrittenMemory>(bytes);
  owned.range = {begin, begin + bytes, owned.written.get()};
}

void Regions::remove(const void* data) {
  ranges_.erase(reinterpret_cast<uintptr_t>(data));
  std::fill(std::begin(recent_), std::end(recent_), Range{});
}

const Regions::Range* Regions::find(const void* data, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(data);
  for (const Range& range : recent_) {
    if (range.holds(at, bytes)) return &range;
  }
  auto after = ranges_.upper_bound(at);
  if (after == ranges_.begin()) return nullptr;
  const Range& range = std::prev(after)->second.range;
  if (!range.holds(at, bytes)) return nullptr;
  Range& recent = recent_[next_++ % 4];
  recent = range;
  return &recent;
}

Regions& device_memory() {
  static Regions regions;
  return regions;
}

Regions& pinned_memory() {
  static Regions regions;
  return regions;
}

void check_global(GlobalAccess access, const char* operation, const void* data, size_t bytes,
                  size_t alignment, const std::source_location& place) {
  if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
    fail(std::string(operation) + ": misaligned global address", place);
  }
  const Regions::Range* range = device_memory().find(data, bytes);
  if (range == nullptr) fail(std::string(operation) + ": global address out of bounds", place);
  const size_t offset = reinterpret_cast<uintptr_t>(data) - range->begin;
  switch (access) {
    case GlobalAccess::kRead:
      return range->written->read(operation, offset, bytes, place);
    case GlobalAccess::kConstant:
      return range->written->read_constant(operation, offset, bytes, place);
    case GlobalAccess::kWrite:
      return range->written->write(operation, offset, bytes, place);
  }
}

}  // namespace block_attention::cuda::emulator
