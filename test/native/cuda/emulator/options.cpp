#include "emulator/options.hpp"

#include <cstdlib>

namespace block_attention::cuda::emulator {

Options& options() {
  static Options options = [] {
    Options initial;
    const char* seed = std::getenv("BLOCK_ATTENTION_EMULATOR_SEED");
    if (seed != nullptr) initial.seed = std::strtoull(seed, nullptr, 10);
    return initial;
  }();
  return options;
}

Statistics& statistics() {
  static Statistics statistics;
  return statistics;
}

Counters& counters() {
  static Counters counters;
  return counters;
}

DeviceProperties& device_properties() {
  static DeviceProperties properties = [] {
    DeviceProperties gpu;
    gpu.name = "emulated GPU";
    gpu.compute_capability = 90;
    gpu.multiprocessors = 4;
    gpu.memory_bytes = size_t{4} << 30;
    gpu.shared_memory_bytes = 227 * 1024;
    return gpu;
  }();
  return properties;
}

}  // namespace block_attention::cuda::emulator
