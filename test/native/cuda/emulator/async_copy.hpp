// cp.async. The bytes move as late as they may, and nobody may look before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

namespace block_attention::cuda {

// `from` may point anywhere if the copy is not valid.
void cp_async16(uint32_t to, const void* from, bool valid,
                std::source_location place = std::source_location::current());
void cp_async_commit();

namespace emulator {
void wait_for_copies(size_t pending_groups);
}

template <int kPending>
void cp_async_wait() {
  emulator::wait_for_copies(kPending);
}

}  // namespace block_attention::cuda
