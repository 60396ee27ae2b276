// Who wrote what of device memory in the launch that runs: for every two bytes of an allocation.
// Finds what blocks of one launch hand to each other, and within a block what no barrier orders.
// Reads leave no trace: that a write should have waited for one is seen only when the schedule puts
// the write first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

#include "emulator/sites.hpp"

namespace block_attention::cuda::emulator {

class WrittenMemory {
 public:
  explicit WrittenMemory(size_t bytes);
  ~WrittenMemory();
  WrittenMemory(const WrittenMemory&) = delete;
  WrittenMemory& operator=(const WrittenMemory&) = delete;

  // An access of the running thread at these bytes of the allocation; fails if it is a race.
  void read(const char* operation, size_t offset, size_t bytes,
            const std::source_location& place) const;
  void write(const char* operation, size_t offset, size_t bytes, const std::source_location& place);
  // Through the cache that does not see this launch's own writes.
  void read_constant(const char* operation, size_t offset, size_t bytes,
                     const std::source_location& place) const;

 private:
  struct Word {
    uint32_t generation;  // 0: never written
    uint16_t writer;
    uint16_t clock;
    Site site;
  };

  static std::string by(const Word& word);
  void check(const Word& word, const char* operation, const std::source_location& place) const;

  size_t words_;
  Word* memory_;  // of zeros, which take no room until they are written
};

}  // namespace block_attention::cuda::emulator
