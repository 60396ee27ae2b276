// What ends a kernel that does something that a GPU would not forgive.
#pragma once

#include <source_location>
#include <string>

namespace block_attention::cuda::emulator {

// Thrown in the fiber of the thread that did it, so that nothing of the kernel goes on.
struct KernelFailure {
  std::string what;  // "file:line: what (thread 3, block 0,0,0)"
};

// "file:line", the file without its folders.
std::string place_text(const std::source_location& place);

// Throws KernelFailure.
[[noreturn]] void fail(const std::string& what, const std::source_location& place);

}  // namespace block_attention::cuda::emulator
