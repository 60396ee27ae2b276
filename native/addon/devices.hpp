// Which backend computes: the devices that this build of the addon has, and the choice among them.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "model/backend.hpp"

namespace block_attention::addon {

enum class DeviceKind { kAuto, kCpu, kCuda, kCudaEmulated };

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kAuto;
  int threads = 1;             // of the CPU
  bool deterministic = false;  // of the GPU's linear layers; the CPU's always are
};

struct ChosenDevice {
  std::unique_ptr<Backend> backend;
  std::string problem;  // why kAuto did not take the GPU
};

// kAuto takes the GPU if there is one. Throws Error(kDeviceUnavailable) with what was found where a
// GPU is asked for, Error(kUnsupported) for kCudaEmulated in a build without it.
ChosenDevice choose_device(const DeviceSpec& spec);

}  // namespace block_attention::addon
