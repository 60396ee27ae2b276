#include "cpu/host_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.hpp"

namespace block_attention {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kRegionBytes = size_t{64} << 20;
constexpr size_t kAlignment = 64;

constexpr size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

// A mapping that begins where a huge page does.
class Mapping {
 public:
  explicit Mapping(size_t bytes, int more_flags = 0) : bytes_(bytes + kHugePage) {
    void* data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | more_flags, -1, 0);
    if (data == MAP_FAILED) {
      throw Error(ErrorCode::kOutOfMemory,
                  "the system has no " + std::to_string(bytes) +
                      " bytes of memory left: use a smaller model, cache or batch");
    }
    mapped_ = static_cast<char*>(data);
    const size_t past = reinterpret_cast<uintptr_t>(data) % kHugePage;
    data_ = mapped_ + (past == 0 ? 0 : kHugePage - past);
#ifdef MADV_HUGEPAGE
    madvise(data_, bytes, MADV_HUGEPAGE);  // a wish: where it is refused, small pages do
#endif
  }
  ~Mapping() { munmap(mapped_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* data() const { return data_; }

 private:
  size_t bytes_;
  char* mapped_;
  char* data_;
};

Buffer whole(std::shared_ptr<Mapping> mapping, size_t bytes) {
  void* data = mapping->data();
  return Buffer(data, bytes, [mapping = std::move(mapping)](void*, size_t) {});
}

// Hands out the addresses of a mapping from front to back, and never twice.
class WeightRegions {
 public:
  Buffer allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Mapping> mapping = current_.lock();
    if (mapping == nullptr || used_ + bytes > size_) {
      // What fails leaves the region before as it was.
      const size_t size = std::max(kRegionBytes, round_up(bytes, kHugePage));
      mapping = std::make_shared<Mapping>(size);
      current_ = mapping;
      size_ = size;
      used_ = 0;
    }
    char* data = mapping->data() + used_;
    used_ += round_up(bytes, kAlignment);
    return Buffer(data, bytes, [mapping = std::move(mapping)](void* block, size_t size) {
      give_back(static_cast<char*>(block), size);
    });
  }

 private:
  static void give_back(char* block, size_t size) {
    static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<uintptr_t>(block);
    const size_t first = round_up(begin, page);
    const size_t last = (begin + size) / page * page;
    if (first < last) madvise(block + (first - begin), last - first, MADV_DONTNEED);
  }

  std::mutex mutex_;
  std::weak_ptr<Mapping> current_;  // unmapped with the last of its blocks
  size_t size_ = 0;
  size_t used_ = 0;
};

}  // namespace

size_t physical_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return std::numeric_limits<size_t>::max();  // not known
  return static_cast<size_t>(pages) * static_cast<size_t>(page_bytes);
}

Buffer allocate_host_memory(size_t bytes) {
  if (bytes == 0) return {};
  return whole(std::make_shared<Mapping>(bytes), bytes);
}

Buffer allocate_weight_memory(size_t bytes) {
  static WeightRegions regions;
  if (bytes == 0) return {};
  return regions.allocate(bytes);
}

Buffer reserve_host_memory(size_t bytes) {
  if (bytes == 0) return {};
  return whole(std::make_shared<Mapping>(bytes, MAP_NORESERVE), bytes);
}

}  // namespace block_attention
