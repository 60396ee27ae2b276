// Large blocks of zeroed host memory straight from the operating system, 64-byte aligned, in huge
// pages where the system grants them: weights, KV pages and scratch are walked with strides of many
// small pages, and the CPU's own prefetching ends where a small page does.
#pragma once

#include <cstddef>

#include "core/tensor.hpp"

namespace block_attention {

// The machine's memory.
size_t physical_memory_bytes();

// Throws Error(kOutOfMemory).
Buffer allocate_host_memory(size_t bytes);

// For the many matrices of a model: they lie side by side, since most are smaller than a huge page.
// What is given back returns to the system at once, but for the small pages that it shares with its
// neighbours. Any thread. Throws Error(kOutOfMemory).
Buffer allocate_weight_memory(size_t bytes);

// Address space that takes no memory before it is written, and that the system need not have.
// Throws Error(kOutOfMemory).
Buffer reserve_host_memory(size_t bytes);

}  // namespace block_attention
