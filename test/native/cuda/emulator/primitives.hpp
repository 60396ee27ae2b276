// The primitives of native/cuda/primitives.cuh under the same names. Each takes the place of its
// call as its last argument, which errors name.
#pragma once

#include <cstdint>
#include <source_location>

#include "cuda/primitives.cuh"
#include "emulator/async_copy.hpp"
#include "emulator/collective.hpp"
#include "emulator/elements.hpp"
#include "emulator/language.hpp"
#include "emulator/mbarrier.hpp"
#include "emulator/memory.hpp"
#include "emulator/shuffle.hpp"
#include "emulator/tensor_core.hpp"
#include "emulator/tma.hpp"
#include "emulator/wgmma.hpp"

namespace block_attention::cuda {

inline void syncthreads(std::source_location place = std::source_location::current()) {
  emulator::barrier_sync("syncthreads", 0,
                         static_cast<int>(emulator::current_block->thread_count()), place);
}

inline void syncwarp(std::source_location place = std::source_location::current()) {
  emulator::sync_warp(place);
}

inline void bar_sync(int id, int threads,
                     std::source_location place = std::source_location::current()) {
  emulator::barrier_sync("bar_sync", id, threads, place);
}

inline void bar_arrive(int id, int threads,
                       std::source_location place = std::source_location::current()) {
  emulator::barrier_arrive(id, threads, place);
}

}  // namespace block_attention::cuda
