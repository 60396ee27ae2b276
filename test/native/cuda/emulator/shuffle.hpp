// Exchange between the lanes of a warp. None of it orders memory.
#pragma once

#include <cstdint>
#include <source_location>

#include "cuda/primitives.cuh"
#include "emulator/collective.hpp"
#include "emulator/failure.hpp"

namespace block_attention::cuda {
namespace emulator {

// `source` is the lane whose value this lane gets.
template <typename T>
T exchange(const char* operation, T value, uint32_t source, const std::source_location& place) {
  static_assert(is_shuffled<T>);
  struct Part {
    T value;
    uint32_t source;
    T result;
  } part = {value, source, value};
  collective(operation, part, place, [](Warp& warp) {
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
      auto& mine = argument_of<Part>(warp, lane);
      mine.result = argument_of<Part>(warp, mine.source).value;
    }
  });
  return part.result;
}

}  // namespace emulator

template <typename T>
T shfl_xor(T value, int mask, std::source_location place = std::source_location::current()) {
  if (mask < 0 || mask > 31) emulator::fail("shfl_xor: the mask is no lane", place);
  return emulator::exchange("shfl_xor", value,
                            emulator::current_thread->lane ^ static_cast<uint32_t>(mask), place);
}

template <typename T>
T shfl(T value, int lane, std::source_location place = std::source_location::current()) {
  if (lane < 0 || lane > 31) emulator::fail("shfl: there is no such lane", place);
  return emulator::exchange("shfl", value, static_cast<uint32_t>(lane), place);
}

template <typename T>
T shfl_up(T value, int delta, std::source_location place = std::source_location::current()) {
  if (delta < 0 || delta > 31) emulator::fail("shfl_up: the distance is no lane", place);
  const uint32_t lane = emulator::current_thread->lane;
  const auto distance = static_cast<uint32_t>(delta);
  return emulator::exchange("shfl_up", value, lane < distance ? lane : lane - distance, place);
}

inline uint32_t ballot(bool predicate,
                       std::source_location place = std::source_location::current()) {
  struct Part {
    bool predicate;
    uint32_t result;
  } part = {predicate, 0};
  emulator::collective("ballot", part, place, [](emulator::Warp& warp) {
    uint32_t all = 0;
    for (uint32_t lane = 0; lane < emulator::kWarpSize; ++lane) {
      if (emulator::argument_of<Part>(warp, lane).predicate) all |= 1u << lane;
    }
    for (uint32_t lane = 0; lane < emulator::kWarpSize; ++lane) {
      emulator::argument_of<Part>(warp, lane).result = all;
    }
  });
  return part.result;
}

}  // namespace block_attention::cuda
