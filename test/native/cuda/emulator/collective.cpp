#include "emulator/collective.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {
namespace {

struct BarrierArguments {
  int id;
  int threads;
};

// The barrier that all lanes name, after its counts were checked.
NamedBarrier& named_barrier(Warp& warp, const std::source_location& place) {
  const auto& first = argument_of<BarrierArguments>(warp, 0);
  for (uint32_t lane = 1; lane < kWarpSize; ++lane) {
    const auto& other = argument_of<BarrierArguments>(warp, lane);
    if (other.id != first.id || other.threads != first.threads) {
      fail("lanes of a warp are at different barriers", place);
    }
  }
  if (first.id < 0 || first.id > 15) fail("there are barriers 0 to 15", place);
  const auto threads = static_cast<uint32_t>(first.threads);
  if (first.threads <= 0 || threads % kWarpSize != 0 || threads > current_block->thread_count()) {
    fail("barrier for " + std::to_string(first.threads) + " threads of a block of " +
             std::to_string(current_block->thread_count()),
         place);
  }
  NamedBarrier& barrier = current_block->barriers[static_cast<size_t>(first.id)];
  if (barrier.expected != 0 && barrier.expected != threads) {
    fail("named barrier used with two thread counts", place);
  }
  barrier.expected = threads;
  barrier.arrived += kWarpSize;
  return barrier;
}

template <typename Visit>
void for_lanes(uint32_t warp, Visit&& visit) {
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    visit(current_block->thread(warp * kWarpSize + lane));
  }
}

// All have arrived: those that wait go on, and know what all knew.
void complete(NamedBarrier& barrier) {
  Block& block = *current_block;
  if (barrier.only_waiters && block.full_barrier_count(barrier.arrived)) {
    block.start_generation();
  } else {
    for (const uint32_t warp : barrier.waiting_warps) {
      for_lanes(warp, [&](Thread& thread) { release(thread, barrier.clock); });
    }
    for (const uint32_t warp : barrier.waiting_warps) {
      for_lanes(warp, [&](Thread& thread) { acquire(thread, barrier.clock); });
    }
  }
  for (const uint32_t warp : barrier.waiting_warps) block.warp(warp).ready = kAllLanes;
  barrier = NamedBarrier{};
}

// The compiler may write one place down several times.
bool same_place(const Warp& warp, const char* operation, const std::source_location& place) {
  return std::strcmp(warp.operation, operation) == 0 && warp.place.line() == place.line() &&
         warp.place.column() == place.column() &&
         std::strcmp(warp.place.file_name(), place.file_name()) == 0;
}

}  // namespace

void rendezvous(const char* operation, void* argument, const std::source_location& place,
                FunctionRef<bool(Warp&)> last) {
  Warp& warp = current_warp();
  const uint32_t lane = current_thread->lane;
  if (warp.arrived == 0) {
    warp.operation = operation;
    warp.place = place;
  } else if (key_of(warp.place) != key_of(place) && !same_place(warp, operation, place)) {
    fail(std::string("divergent collective: ") + operation + " while other lanes are at " +
             warp.operation + " at " + place_text(warp.place),
         place);
  }
  warp.arguments[lane] = argument;
  warp.arrived |= 1u << lane;
  if (warp.arrived != kAllLanes) {
    current_block->wait(operation, place);
    return;
  }
  // Cleared first: a warp that does not go on may arrive nowhere else meanwhile.
  warp.arrived = 0;
  if (last(warp)) {
    warp.ready = kAllLanes;
  } else {
    current_block->wait(operation, place);
  }
}

void sync_warp(const std::source_location& place) {
  int none = 0;
  collective("syncwarp", none, place, [](Warp&) {
    const uint32_t warp = current_thread->warp;
    Clock all;
    for_lanes(warp, [&](Thread& thread) { release(thread, all); });
    for_lanes(warp, [&](Thread& thread) { thread.clock.join(current_block->generation, all); });
  });
}

void barrier_sync(const char* operation, int id, int threads, const std::source_location& place) {
  BarrierArguments arguments = {id, threads};
  rendezvous(operation, &arguments, place, [&](Warp& warp) {
    NamedBarrier& barrier = named_barrier(warp, place);
    barrier.waiting_warps.push_back(current_thread->warp);
    if (barrier.arrived < barrier.expected) return false;
    complete(barrier);
    return true;
  });
}

void barrier_arrive(int id, int threads, const std::source_location& place) {
  BarrierArguments arguments = {id, threads};
  collective("bar_arrive", arguments, place, [&](Warp& warp) {
    NamedBarrier& barrier = named_barrier(warp, place);
    barrier.only_waiters = false;
    for_lanes(current_thread->warp, [&](Thread& thread) { release(thread, barrier.clock); });
    if (barrier.arrived == barrier.expected) complete(barrier);
  });
}

}  // namespace block_attention::cuda::emulator
