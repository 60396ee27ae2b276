// Which backend computes: the devices that this build of the addon has, those that are there, and
// the choice among them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/backend.hpp"

namespace block_attention::addon {

enum class DeviceKind { kAuto, kCpu, kCuda, kCudaEmulated };

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kAuto;
  int threads = 1;             // of the CPU
  bool deterministic = false;  // of the GPU's linear layers; the CPU's always are
  bool float32 = false;        // products of float32 only, where the CPU could round to bf16
  WeightFormat weight_format = WeightFormat::kStored;
  std::optional<DType> kv_dtype;  // unless said, what the backend prefers
};

struct ChosenDevice {
  std::unique_ptr<Backend> backend;
  std::string problem;  // why kAuto did not take the GPU
};

// kAuto takes the GPU if there is one and it computes what is asked for. Throws
// Error(kDeviceUnavailable) with what was found where a GPU is asked for, Error(kUnsupported) for
// kCudaEmulated in a build without it, and for float32 on a GPU.
ChosenDevice choose_device(const DeviceSpec& spec);

// The devices that this build can compute on where they are, by the names of DeviceKind.
std::vector<const char*> built_devices();

struct GpuDescription {
  std::string problem;  // why there is no GPU to compute on; the rest is then empty
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  size_t memory_bytes = 0;
  std::string gemm;          // what linear layers run on
  std::string gemm_problem;  // why that is not the fastest there might be
};

// Any thread. Takes a moment: asks the driver.
GpuDescription describe_gpu();

}  // namespace block_attention::addon
