// Device over the CUDA runtime.
#include "cuda/device.hpp"

#include <cuda_runtime.h>

#include "core/error.hpp"
#include "cuda/check.cuh"

namespace block_attention::cuda {
namespace {

constexpr int kLeastComputeCapability = 80;

// A call's status is only right for the thread's current device.
void use(const DeviceProperties& properties) {
  check(cudaSetDevice(properties.ordinal), "cudaSetDevice");
}

cudaStream_t stream_of(const Device& device) { return static_cast<cudaStream_t>(device.stream()); }

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string why_no_device(cudaError_t status) {
  int driver = 0;
  int runtime = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  if (driver == 0) return "no NVIDIA driver was found";
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver serves CUDA " + version_text(driver) + ", this build needs " +
           version_text(runtime) + "; update the driver";
  }
  return std::string("CUDA says ") + cudaGetErrorName(status) + ": " + cudaGetErrorString(status);
}

}  // namespace

DeviceSearch find_device(int ordinal) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {std::nullopt, why_no_device(status)};
  }
  if (ordinal < 0 || ordinal >= count) {
    return {std::nullopt, "there is no GPU " + std::to_string(ordinal) + ", only " +
                              std::to_string(count) + " of them, counted from 0"};
  }
  cudaDeviceProp found = {};
  status = cudaGetDeviceProperties(&found, ordinal);
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {std::nullopt, why_no_device(status)};
  }
  DeviceProperties properties;
  properties.ordinal = ordinal;
  properties.name = found.name;
  properties.compute_capability = found.major * 10 + found.minor;
  properties.multiprocessors = found.multiProcessorCount;
  properties.memory_bytes = found.totalGlobalMem;
  properties.shared_memory_bytes = found.sharedMemPerBlockOptin;
  if (properties.compute_capability < kLeastComputeCapability) {
    return {std::nullopt, properties.name + " has compute capability " +
                              std::to_string(found.major) + "." + std::to_string(found.minor) +
                              ", the kernels need 8.0 (Ampere) or later"};
  }
  return {properties, ""};
}

Device::Device(int ordinal) {
  DeviceSearch search = find_device(ordinal);
  if (!search.found) throw Error(ErrorCode::kDeviceUnavailable, search.problem);
  properties_ = *std::move(search.found);
  use(properties_);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  stream_ = stream;
}

Device::~Device() {
  // Nobody is left to hear of a failure.
  static_cast<void>(cudaSetDevice(properties_.ordinal));
  static_cast<void>(cudaStreamSynchronize(stream_of(*this)));
  static_cast<void>(cudaStreamDestroy(stream_of(*this)));
}

size_t Device::free_bytes() const {
  use(properties_);
  size_t free = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

Buffer Device::allocate(size_t bytes) {
  if (bytes == 0) return {};
  use(properties_);
  void* data = nullptr;
  check(cudaMalloc(&data, bytes), "cudaMalloc");
  return {data, bytes, [ordinal = properties_.ordinal](void* memory, size_t) {
            static_cast<void>(cudaSetDevice(ordinal));
            static_cast<void>(cudaFree(memory));
          }};
}

Buffer Device::allocate_pinned(size_t bytes) {
  if (bytes == 0) return {};
  use(properties_);
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes), "cudaMallocHost");
  return {data, bytes, [](void* memory, size_t) { static_cast<void>(cudaFreeHost(memory)); }};
}

void Device::upload(void* to, const void* pinned, size_t bytes) {
  use(properties_);
  check(cudaMemcpyAsync(to, pinned, bytes, cudaMemcpyHostToDevice, stream_of(*this)), "an upload");
}

void Device::download(void* pinned, const void* from, size_t bytes) {
  use(properties_);
  check(cudaMemcpyAsync(pinned, from, bytes, cudaMemcpyDeviceToHost, stream_of(*this)),
        "a download");
}

void Device::copy(void* to, const void* from, size_t bytes) {
  use(properties_);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(*this)), "a copy");
}

void Device::clear(void* to, size_t bytes) {
  use(properties_);
  check(cudaMemsetAsync(to, 0, bytes, stream_of(*this)), "clearing memory");
}

void Device::synchronize() {
  use(properties_);
  check(cudaStreamSynchronize(stream_of(*this)), "the GPU's work");
}

}  // namespace block_attention::cuda
