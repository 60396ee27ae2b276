// Backend::copy_pages on the CPU.
#pragma once

#include <span>

#include "cpu/kv_storage.hpp"
#include "cpu/thread_pool.hpp"
#include "model/step.hpp"

namespace block_attention {

// Copies whole pages, whatever their type: in K the tokens of a page lie side by side, so there is
// nothing to be saved by leaving some out.
void copy_pages(ThreadPool& pool, std::span<const PageCopy> copies, CpuKvStorage& kv);

}  // namespace block_attention
