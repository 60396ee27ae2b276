// Large blocks of zeroed host memory straight from the operating system, 64-byte aligned (page
// aligned, in fact), with huge pages where the system grants them: weights and scratch are walked
// with strides of many small pages.
#pragma once

#include <cstddef>

#include "core/tensor.hpp"

namespace block_attention {

// The machine's memory.
size_t physical_memory_bytes();

// Throws Error(kOutOfMemory).
Buffer allocate_host_memory(size_t bytes);

}  // namespace block_attention
