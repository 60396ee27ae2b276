// Loads and stores of one thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "cuda/primitives.cuh"
#include "emulator/block.hpp"
#include "emulator/regions.hpp"

namespace block_attention::cuda {

template <typename T>
T ldg(const T* address, std::source_location place = std::source_location::current()) {
  static_assert(is_loadable<T>);
  emulator::check_global(emulator::GlobalAccess::kRead, "ldg", address, sizeof(T), sizeof(T),
                         place);
  T value;
  std::memcpy(static_cast<void*>(&value), static_cast<const void*>(address), sizeof(T));
  return value;
}

template <typename T>
T ldg_streaming(const T* address, std::source_location place = std::source_location::current()) {
  static_assert(is_loadable<T>);
  emulator::check_global(emulator::GlobalAccess::kConstant, "ldg_streaming", address, sizeof(T),
                         sizeof(T), place);
  T value;
  std::memcpy(static_cast<void*>(&value), static_cast<const void*>(address), sizeof(T));
  return value;
}

template <typename T>
void stg(T* address, const std::type_identity_t<T>& value,
         std::source_location place = std::source_location::current()) {
  static_assert(is_loadable<T>);
  emulator::check_global(emulator::GlobalAccess::kWrite, "stg", address, sizeof(T), sizeof(T),
                         place);
  std::memcpy(static_cast<void*>(address), static_cast<const void*>(&value), sizeof(T));
}

inline uint32_t shared_base() { return emulator::SharedMemory::kBase; }

template <typename T>
T lds(uint32_t address, std::source_location place = std::source_location::current()) {
  static_assert(is_loadable<T>);
  T value;
  const void* from =
      emulator::current_block->shared.read("lds", address, sizeof(T), sizeof(T), place);
  std::memcpy(static_cast<void*>(&value), from, sizeof(T));
  return value;
}

template <typename T>
void sts(uint32_t address, const T& value,
         std::source_location place = std::source_location::current()) {
  static_assert(is_loadable<T>);
  void* to = emulator::current_block->shared.write("sts", address, sizeof(T), sizeof(T), place);
  std::memcpy(to, static_cast<const void*>(&value), sizeof(T));
}

inline uint32_t atomic_add_shared(uint32_t address, uint32_t value,
                                  std::source_location place = std::source_location::current()) {
  void* at = emulator::current_block->shared.atomic("atomic_add_shared", address, 4, place);
  uint32_t before;
  std::memcpy(&before, at, 4);
  const uint32_t after = before + value;
  std::memcpy(at, &after, 4);
  return before;
}

}  // namespace block_attention::cuda
