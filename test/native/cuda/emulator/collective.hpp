// Warp collectives and barriers. A collective is a rendezvous of all 32 lanes at one place of the
// kernel; the last to arrive does the work of all.
#pragma once

#include <cstdint>
#include <source_location>

#include "core/function_ref.hpp"
#include "emulator/block.hpp"

namespace block_attention::cuda::emulator {

// `argument` is this lane's part, in warp.arguments when `last` runs. `last` says whether the warp
// goes on at once; otherwise somebody wakes it.
void rendezvous(const char* operation, void* argument, const std::source_location& place,
                FunctionRef<bool(Warp&)> last);

// The same for what a warp does without waiting for others.
template <typename Argument, typename Work>
void collective(const char* operation, Argument& argument, const std::source_location& place,
                Work&& work) {
  rendezvous(operation, &argument, place, [&](Warp& warp) {
    work(warp);
    return true;
  });
}

template <typename Argument>
Argument& argument_of(Warp& warp, uint32_t lane) {
  return *static_cast<Argument*>(warp.arguments[lane]);
}

// Memory accesses of the warp are ordered.
void sync_warp(const std::source_location& place);
// bar.sync and bar.arrive are aligned: the warp meets first, then counts as 32.
void barrier_sync(const char* operation, int id, int threads, const std::source_location& place);
void barrier_arrive(int id, int threads, const std::source_location& place);

}  // namespace block_attention::cuda::emulator
