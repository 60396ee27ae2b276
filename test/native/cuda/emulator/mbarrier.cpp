#include "emulator/mbarrier.hpp"

#include "emulator/failure.hpp"

namespace block_attention::cuda {
namespace {

constexpr uint32_t kBarrierBytes = 8;

void arrive(const char* operation, uint32_t bar, uint32_t bytes,
            const std::source_location& place) {
  const uint32_t index = emulator::find_mbarrier(bar, place);
  emulator::TransactionBarrier& barrier = emulator::current_block->transaction_barriers[index];
  if (barrier.pending == 0) {
    emulator::fail(std::string(operation) + ": more arrivals than the mbarrier's count", place);
  }
  emulator::release(*emulator::current_thread, barrier.arriving);
  barrier.bytes += bytes;
  --barrier.pending;
  emulator::end_phase_if_complete(index);
}

}  // namespace

uint32_t emulator::find_mbarrier(uint32_t address, const std::source_location& place) {
  const auto& barriers = current_block->transaction_barriers;
  for (uint32_t i = 0; i < barriers.size(); ++i) {
    if (barriers[i].address != address) continue;
    current_block->shared.check_ordered("mbarrier", address, place);
    return i;
  }
  fail("the mbarrier was not initialised", place);
}

void emulator::end_phase_if_complete(uint32_t mbarrier) {
  TransactionBarrier& barrier = current_block->transaction_barriers[mbarrier];
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.count;
  barrier.ended = barrier.arriving;
  barrier.ended.see_phase(mbarrier, barrier.phase);
  for (const uint32_t thread : barrier.waiters) {
    acquire(current_block->thread(thread), barrier.ended);
    current_block->wake(thread);
  }
  barrier.waiters.clear();
}

void mbar_init(uint32_t bar, uint32_t arrivals, std::source_location place) {
  emulator::Block& block = *emulator::current_block;
  block.shared.write("mbar_init", bar, kBarrierBytes, kBarrierBytes, place);
  if (arrivals == 0) emulator::fail("mbar_init: a count of none", place);
  emulator::TransactionBarrier fresh;
  fresh.address = bar;
  fresh.count = fresh.pending = arrivals;
  for (const emulator::TransactionBarrier& known : block.transaction_barriers) {
    if (known.address == bar) emulator::fail("mbar_init: the mbarrier is in use", place);
  }
  block.transaction_barriers.push_back(fresh);
}

void mbar_arrive(uint32_t bar, std::source_location place) { arrive("mbar_arrive", bar, 0, place); }

void mbar_expect_tx(uint32_t bar, uint32_t bytes, std::source_location place) {
  arrive("mbar_expect_tx", bar, bytes, place);
}

void mbar_wait(uint32_t bar, uint32_t parity, std::source_location place) {
  const uint32_t index = emulator::find_mbarrier(bar, place);
  emulator::TransactionBarrier& barrier = emulator::current_block->transaction_barriers[index];
  if ((barrier.phase & 1) != parity) {
    emulator::acquire(*emulator::current_thread, barrier.ended);
    return;
  }
  barrier.waiters.push_back(emulator::current_thread->id);
  emulator::current_block->wait("mbar_wait", place);
}

}  // namespace block_attention::cuda
