#include "emulator/async_copy.hpp"

#include <cstring>
#include <utility>

#include "emulator/block.hpp"
#include "emulator/failure.hpp"
#include "emulator/regions.hpp"

namespace block_attention::cuda {
namespace {

constexpr uint32_t kBytes = 16;

void move_bytes(void* to, const void* from) {
  if (from == nullptr) {
    std::memset(to, 0, kBytes);
  } else {
    std::memcpy(to, from, kBytes);
  }
}

}  // namespace

void cp_async16(uint32_t to, const void* from, bool valid, std::source_location place) {
  if (reinterpret_cast<uintptr_t>(from) % kBytes != 0) {
    emulator::fail("cp_async16: misaligned global address", place);
  }
  if (valid) {
    emulator::check_global(emulator::GlobalAccess::kRead, "cp_async16", from, kBytes, kBytes,
                           place);
  }
  emulator::Block& block = *emulator::current_block;
  unsigned char* bytes = block.shared.begin_copy("cp_async16", to, kBytes, kBytes, place);
  const void* source = valid ? from : nullptr;
  if (block.late_copies) {
    std::memset(bytes, 0xff, kBytes);
  } else {
    move_bytes(bytes, source);
  }
  emulator::current_thread->open_copies.push_back({to, source, place});
}

void cp_async_commit() {
  emulator::Thread& self = *emulator::current_thread;
  self.copy_groups.push_back(std::move(self.open_copies));
  self.open_copies.clear();
}

void emulator::wait_for_copies(size_t pending_groups) {
  Thread& self = *current_thread;
  SharedMemory& shared = current_block->shared;
  for (; self.copy_groups.size() > pending_groups; self.copy_groups.pop_front()) {
    for (const PendingCopy& copy : self.copy_groups.front()) {
      if (current_block->late_copies) move_bytes(shared.at(copy.to), copy.from);
      shared.end_copy(copy.to, kBytes);
    }
  }
}

}  // namespace block_attention::cuda
