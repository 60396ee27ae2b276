// Launches on the emulation: put on the device's queue, run by synchronize().
#pragma once

#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "cuda/device.hpp"
#include "cuda/launch.cuh"

namespace block_attention::cuda {
namespace emulator {

// Throws Error(kDevice) for a shape that no launch takes. `name` is for errors of the kernel.
void enqueue_launch(Device& device, const LaunchShape& shape, std::string name,
                    std::function<void()> kernel);

// From __PRETTY_FUNCTION__ of launch(): the kernel with its template arguments.
std::string kernel_name(const std::string& launch_signature);

// Arguments become what the kernel's parameters are, at the launch.
template <typename... Parameters>
std::tuple<Parameters...> parameters_of(void (*)(Parameters...),
                                        std::type_identity_t<Parameters>... arguments) {
  return {std::move(arguments)...};
}

}  // namespace emulator

template <auto Kernel, typename... Arguments>
void launch(Device& device, const LaunchShape& shape, Arguments... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  emulator::enqueue_launch(device, shape, emulator::kernel_name(__PRETTY_FUNCTION__),
                           [parameters = emulator::parameters_of(Kernel, arguments...)] {
                             std::apply(Kernel, parameters);
                           });
}

}  // namespace block_attention::cuda
