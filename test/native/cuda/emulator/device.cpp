// Device on the CPU. Everything waits in a queue for synchronize(): whoever reads a download too
// early finds poison, and whoever writes over what is still to be uploaded is found out.
#include "cuda/device.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "cuda/launch.cuh"
#include "emulator/block.hpp"
#include "emulator/failure.hpp"
#include "emulator/options.hpp"
#include "emulator/regions.hpp"

namespace block_attention::cuda {
namespace emulator {
namespace {

constexpr size_t kAlignment = 256;

// Fibers, the current block and the regions exist once.
std::recursive_mutex& emulator_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}
using Lock = std::lock_guard<std::recursive_mutex>;

struct Stream {
  std::deque<std::function<void()>> queue;
  uint64_t launches = 0;
  size_t allocated_bytes = 0;
  // Sticks, as the errors of kernels do.
  std::string failure;

  void run() {
    while (!queue.empty() && failure.empty()) {
      const std::function<void()> next = std::move(queue.front());
      queue.pop_front();
      try {
        next();
      } catch (const Error& error) {
        failure = error.what();
      }
    }
  }

  void check() const {
    if (!failure.empty()) throw Error(ErrorCode::kDevice, failure);
  }
};

// Buffers may outlive the device, so the stream lives as long as either.
using StreamPointer = std::shared_ptr<Stream>;

StreamPointer& stream_pointer(const Device& device) {
  return *static_cast<StreamPointer*>(device.stream());
}
Stream& stream_of(const Device& device) { return *stream_pointer(device); }

void require(bool condition, const char* what) {
  if (!condition) throw Error(ErrorCode::kDevice, what);
}

void check_device_range(const char* operation, const void* data, size_t bytes) {
  if (bytes == 0 || device_memory().contain(data, bytes)) return;
  throw Error(ErrorCode::kDevice, std::string(operation) + ": outside of device memory");
}

void check_pinned_range(const char* operation, const void* data, size_t bytes) {
  if (bytes == 0 || pinned_memory().contain(data, bytes)) return;
  throw Error(ErrorCode::kDevice, std::string(operation) + ": not pinned host memory");
}

void put(Device& device, std::function<void()> operation) {
  stream_of(device).check();
  stream_of(device).queue.push_back(std::move(operation));
}

void* poisoned_memory(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  // Room behind the end, so that no allocation begins where another ends.
  void* data = std::aligned_alloc(kAlignment, rounded + kAlignment);
  if (data == nullptr) throw Error(ErrorCode::kOutOfMemory, "the host has no memory left");
  std::memset(data, 0xff, bytes);
  return data;
}

void run_kernel(const LaunchShape& shape, uint64_t launch, const std::string& name,
                const std::function<void()>& kernel) {
  if (options().lost_at_launch != 0 && launch >= options().lost_at_launch) {
    throw Error(ErrorCode::kDevice, "the GPU's work failed: the device is lost");
  }
  static Block block;
  statistics() = {};
  const uint64_t seed = options().seed + launch;
  current_block = &block;
  try {
    block.run_grid(shape, seed, options().late_copies, kernel);
  } catch (const KernelFailure& failure) {
    current_block = nullptr;
    current_thread = nullptr;
    throw Error(ErrorCode::kDevice, failure.what + "; kernel " + name + ", seed " +
                                        std::to_string(options().seed) + ", launch " +
                                        std::to_string(launch));
  }
  current_block = nullptr;
  current_thread = nullptr;
}

}  // namespace

std::string kernel_name(const std::string& launch_signature) {
  const std::string key = "Kernel = ";
  const size_t begin = launch_signature.find(key);
  if (begin == std::string::npos) return launch_signature;
  std::string name = launch_signature.substr(begin + key.size());
  name = name.substr(0, name.find("; Arguments = "));
  for (const std::string drop : {"block_attention::cuda::", "{anonymous}::"}) {
    for (size_t at = name.find(drop); at != std::string::npos; at = name.find(drop)) {
      name.erase(at, drop.size());
    }
  }
  return name;
}

void enqueue_launch(Device& device, const LaunchShape& shape, std::string name,
                    std::function<void()> kernel) {
  const Lock lock(emulator_mutex());
  require(shape.threads > 0 && shape.threads % kWarpSize == 0 && shape.threads <= kMaxThreads,
          "a kernel launch failed: the number of threads");
  require(shape.grid.y <= 65535 && shape.grid.z <= 65535, "a kernel launch failed: the grid");
  require(shape.shared_bytes <= device.properties().shared_memory_bytes,
          "a kernel launch failed: more shared memory than a block has");
  const uint64_t launch = stream_of(device).launches++;
  ++counters().launches;
  put(device, [shape, launch, name = std::move(name), kernel = std::move(kernel)] {
    run_kernel(shape, launch, name, kernel);
  });
}

}  // namespace emulator

using emulator::Lock;

DeviceSearch find_device(int ordinal) {
  if (ordinal != 0) {
    return {std::nullopt,
            "there is no GPU " + std::to_string(ordinal) + ", only 1 of them, counted from 0"};
  }
  return {emulator::device_properties(), ""};
}

Device::Device(int ordinal) {
  DeviceSearch search = find_device(ordinal);
  if (!search.found) throw Error(ErrorCode::kDeviceUnavailable, search.problem);
  properties_ = *std::move(search.found);
  stream_ = new emulator::StreamPointer(std::make_shared<emulator::Stream>());
}

Device::~Device() {
  const Lock lock(emulator::emulator_mutex());
  emulator::Stream& stream = emulator::stream_of(*this);
  // Nobody is left to hear of a failure.
  stream.run();
  delete &emulator::stream_pointer(*this);
}

size_t Device::free_bytes() const {
  const Lock lock(emulator::emulator_mutex());
  return properties_.memory_bytes - emulator::stream_of(*this).allocated_bytes;
}

Buffer Device::allocate(size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  if (bytes == 0) return {};
  const emulator::StreamPointer stream = emulator::stream_pointer(*this);
  stream->check();
  if (bytes > free_bytes()) {
    throw Error(ErrorCode::kOutOfMemory, "cudaMalloc failed: the emulated GPU has no " +
                                             std::to_string(bytes) + " bytes left");
  }
  void* data = emulator::poisoned_memory(bytes);
  ++emulator::counters().allocations;
  emulator::device_memory().add(data, bytes, true);
  stream->allocated_bytes += bytes;
  return {data, bytes, [stream](void* memory, size_t size) {
            const Lock unlocked(emulator::emulator_mutex());
            // As cudaFree: after what is on the stream.
            stream->run();
            emulator::device_memory().remove(memory);
            stream->allocated_bytes -= size;
            std::free(memory);
          }};
}

Buffer Device::allocate_pinned(size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  if (bytes == 0) return {};
  void* data = emulator::poisoned_memory(bytes);
  ++emulator::counters().allocations;
  emulator::pinned_memory().add(data, bytes, false);
  return {data, bytes, [](void* memory, size_t) {
            const Lock unlocked(emulator::emulator_mutex());
            emulator::pinned_memory().remove(memory);
            std::free(memory);
          }};
}

void Device::upload(void* to, const void* pinned, size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  emulator::check_device_range("an upload", to, bytes);
  emulator::check_pinned_range("an upload", pinned, bytes);
  const char* from = static_cast<const char*>(pinned);
  emulator::put(*this, [to, from, seen = std::vector<char>(from, from + bytes)] {
    emulator::check_device_range("an upload", to, seen.size());
    emulator::check_pinned_range("an upload, freed before it ran", from, seen.size());
    if (!seen.empty() && std::memcmp(seen.data(), from, seen.size()) != 0) {
      throw Error(ErrorCode::kDevice, "pinned memory was written before its upload ran");
    }
    if (!seen.empty()) std::memcpy(to, from, seen.size());
  });
}

void Device::download(void* pinned, const void* from, size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  emulator::check_device_range("a download", from, bytes);
  emulator::check_pinned_range("a download", pinned, bytes);
  emulator::put(*this, [pinned, from, bytes] {
    emulator::check_device_range("a download", from, bytes);
    emulator::check_pinned_range("a download, freed before it ran", pinned, bytes);
    if (bytes > 0) std::memcpy(pinned, from, bytes);
  });
  if (bytes > 0) std::memset(pinned, 0xff, bytes);
}

void Device::copy(void* to, const void* from, size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  emulator::check_device_range("a copy", to, bytes);
  emulator::check_device_range("a copy", from, bytes);
  emulator::put(*this, [to, from, bytes] {
    if (bytes > 0) std::memcpy(to, from, bytes);
  });
}

void Device::clear(void* to, size_t bytes) {
  const Lock lock(emulator::emulator_mutex());
  emulator::check_device_range("clearing memory", to, bytes);
  emulator::put(*this, [to, bytes] {
    if (bytes > 0) std::memset(to, 0, bytes);
  });
}

void Device::synchronize() {
  const Lock lock(emulator::emulator_mutex());
  ++emulator::counters().synchronizations;
  emulator::Stream& stream = emulator::stream_of(*this);
  stream.run();
  stream.check();
}

}  // namespace block_attention::cuda
