# The CUDA backend (native/cuda), as far as it exists: a library that nvcc compiles.
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "BLOCK_ATTENTION_CUDA is ON, but nvcc was not found. Put it on the PATH, or set CMAKE_CUDA_COMPILER.")
endif()
# A100, then H100 and H200; the PTX serves every later card (and Ada runs what was made for sm_80).
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real;90-virtual")
endif()
# CMake before 3.28 does not know the flag of nvcc's C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

file(GLOB cuda_sources CONFIGURE_DEPENDS native/cuda/*.cpp native/cuda/*.cu)
add_library(block_attention_cuda STATIC ${cuda_sources})
target_link_libraries(block_attention_cuda PUBLIC block_attention_base PRIVATE ${CMAKE_DL_LIBS})
# No contraction: fused operations are written out, so that the bits are what the source says.
set(cuda_compile_options
  "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings;--fmad=false;--expt-relaxed-constexpr;-lineinfo>")
target_compile_options(block_attention_cuda PRIVATE ${cuda_compile_options})
