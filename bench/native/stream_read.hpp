// The fastest plain read of memory that we know to write: the yardstick for kernels that are bound
// by memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/isa.hpp"

namespace block_attention {

struct StreamRead {
  const char* name;
  // Reads `bytes` (a multiple of 4096) from `data` (64-byte aligned); the result keeps the reads
  // alive.
  uint32_t (*read)(const void* data, size_t bytes);
};

std::vector<StreamRead> stream_reads(Isa isa);

}  // namespace block_attention
