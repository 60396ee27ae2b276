// Puts a kernel on a device's stream:
//
//     launch<rms_norm_kernel<Bf16>>(device, {.grid = {rows}, .threads = 256}, x, weight, out);
//
// Exists twice, like the primitives: through the CUDA runtime, and through the emulation.
#pragma once

#include <cstdint>

namespace block_attention::cuda {

struct Grid {
  uint32_t x = 1;
  uint32_t y = 1;
  uint32_t z = 1;
};

struct LaunchShape {
  Grid grid = {};         // blocks; a launch of none does nothing
  uint32_t threads = 32;  // per block, a multiple of 32
  uint32_t shared_bytes = 0;
};

}  // namespace block_attention::cuda

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <atomic>
#include <tuple>
#include <type_traits>

#include "cuda/check.cuh"
#include "cuda/device.hpp"

namespace block_attention::cuda {

inline constexpr uint32_t kDefaultSharedBytes = 48 * 1024;

// More shared memory than the default has to be asked for, once per kernel and device.
template <auto Kernel>
void allow_shared_memory(const Device& device) {
  static std::atomic<uint64_t> allowed{0};
  const uint64_t bit = uint64_t{1} << (device.properties().ordinal % 64);
  if ((allowed.load() & bit) != 0) return;
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(Kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(device.properties().shared_memory_bytes)),
        "cudaFuncSetAttribute");
  allowed.fetch_or(bit);
}

template <typename... Parameters>
void launch_kernel(const Device& device, const LaunchShape& shape, void (*kernel)(Parameters...),
                   std::type_identity_t<Parameters>... arguments) {
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&arguments))..., nullptr};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                         dim3(shape.grid.x, shape.grid.y, shape.grid.z), dim3(shape.threads),
                         pointers, shape.shared_bytes, static_cast<cudaStream_t>(device.stream())),
        "a kernel launch");
}

template <auto Kernel, typename... Arguments>
void launch(Device& device, const LaunchShape& shape, Arguments... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  if (shape.shared_bytes > kDefaultSharedBytes) allow_shared_memory<Kernel>(device);
  launch_kernel(device, shape, Kernel, arguments...);
}

}  // namespace block_attention::cuda
#else
#include "emulator/launch.hpp"
#endif
