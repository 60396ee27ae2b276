#include "cpu/host_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <limits>
#include <string>

#include "core/error.hpp"

namespace block_attention {

size_t physical_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return std::numeric_limits<size_t>::max();  // not known
  return static_cast<size_t>(pages) * static_cast<size_t>(page_bytes);
}

Buffer allocate_host_memory(size_t bytes) {
  if (bytes == 0) return {};
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(ErrorCode::kOutOfMemory,
                "cannot allocate " + std::to_string(bytes) + " bytes of host memory");
  }
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);  // a wish: where it is refused, small pages do
#endif
  return Buffer(data, bytes, [](void* memory, size_t size) { munmap(memory, size); });
}

}  // namespace block_attention
