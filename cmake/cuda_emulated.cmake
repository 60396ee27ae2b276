# The kernels of native/cuda on the CPU: library cuda_emulated, from the very same sources and the emulation of
# test/native/cuda/emulator, and program cuda_emulated_tests. Needs no CUDA toolkit.

# A folder of CMake gives a source one language: each .cu is compiled through a .cpp that includes it. Sets `out` to the
# list of these; `root` is the include folder that `files` (below `root`) are named by.
function(wrap_cuda_sources out root folder)
  set(wrappers "")
  foreach(source ${ARGN})
    file(RELATIVE_PATH name "${root}" "${source}")
    string(REPLACE "/" "_" flat "${name}")
    set(wrapper "${CMAKE_BINARY_DIR}/${folder}/${flat}.cpp")
    file(CONFIGURE OUTPUT "${wrapper}" CONTENT "#include \"${name}\"\n" @ONLY)
    list(APPEND wrappers "${wrapper}")
  endforeach()
  set(${out} ${wrappers} PARENT_SCOPE)
endfunction()

# What kernels are compiled with. Locals that nobody wrote hold a pattern; longjmp between stacks is no overflow.
add_library(cuda_emulated_options INTERFACE)
target_compile_options(cuda_emulated_options INTERFACE
  -O2 -fno-strict-aliasing -ftrivial-auto-var-init=pattern -Wno-unknown-pragmas -U_FORTIFY_SOURCE)
target_include_directories(cuda_emulated_options INTERFACE test/native/cuda)

file(GLOB cuda_kernel_sources CONFIGURE_DEPENDS native/cuda/*.cu)
list(FILTER cuda_kernel_sources EXCLUDE REGEX "/device\\.cu$")
wrap_cuda_sources(wrapped_kernels "${CMAKE_SOURCE_DIR}/native" wrapped_kernels ${cuda_kernel_sources})
file(GLOB cuda_host_sources CONFIGURE_DEPENDS native/cuda/*.cpp)
list(FILTER cuda_host_sources EXCLUDE REGEX "/cublaslt\\.cpp$")
file(GLOB emulator_sources CONFIGURE_DEPENDS test/native/cuda/emulator/*.cpp)
set(emulator_tests ${emulator_sources})
list(FILTER emulator_sources EXCLUDE REGEX "_test\\.cpp$")
list(FILTER emulator_tests INCLUDE REGEX "_test\\.cpp$")
add_library(cuda_emulated STATIC ${wrapped_kernels} ${cuda_host_sources} ${emulator_sources})
target_link_libraries(cuda_emulated PUBLIC block_attention_base cuda_emulated_options)

# The tests are those of cuda_tests (cuda_tests.cmake), and the emulation's own.
file(GLOB cuda_test_sources CONFIGURE_DEPENDS test/native/cuda/*_test.cpp)
file(GLOB cuda_test_kernels CONFIGURE_DEPENDS test/native/cuda/*.cu)
wrap_cuda_sources(wrapped_test_kernels "${CMAKE_SOURCE_DIR}/test/native/cuda" wrapped_test_kernels ${cuda_test_kernels})
add_executable(cuda_emulated_tests ${cuda_test_sources} ${emulator_tests} ${wrapped_test_kernels})
target_include_directories(cuda_emulated_tests PRIVATE test/native)
target_link_libraries(cuda_emulated_tests PRIVATE cuda_emulated block_attention_cpu GTest::gtest GTest::gtest_main)
gtest_discover_tests(cuda_emulated_tests NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
include(cmake/planted.cmake)

# For tests of the whole engine: an addon whose GPU is the emulation (device "cuda-emulated").
if(BLOCK_ATTENTION_ADDON)
  add_node_addon(block_attention_emulated block_attention_core cuda_emulated)
  target_compile_definitions(block_attention_emulated PRIVATE BLOCK_ATTENTION_CUDA_BACKEND BLOCK_ATTENTION_CUDA_EMULATED)
endif()
