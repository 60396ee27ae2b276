// Where cuBLASLt may lie that the dynamic linker does not look.
#pragma once

#include <string>
#include <vector>

namespace block_attention::cuda {

// What the library is called, the preferred version first.
inline constexpr const char* kCublasLtNames[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                                 "libcublasLt.so"};

// Files that exist, the likeliest first: in the site-packages of pip (nvidia/*/lib) of the
// environment that is active, of the python3 on the PATH, of the user and of the system; then in
// CUDA toolkits, those that CUDA_HOME and CUDA_PATH name before /usr/local/cuda.
std::vector<std::string> cublaslt_files();

}  // namespace block_attention::cuda
