// One GPU as the backend uses it: memory, one stream, and errors that are exceptions. Implemented
// twice: over the CUDA runtime (device.cu), and by the emulation that runs the kernels on the CPU
// (test/native/cuda/emulator).
//
// Everything that is not said to wait is put on the stream: it happens in the order of the calls
// and may happen as late as the next synchronize(). Errors of it come out there, or at any later
// call. Any thread, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/tensor.hpp"

namespace block_attention::cuda {

struct DeviceProperties {
  int ordinal = 0;
  std::string name;            // e.g. "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  size_t memory_bytes = 0;
  size_t shared_memory_bytes = 0;  // most that one block may ask for
};

// A device that the kernels run on, or in words why there is none.
struct DeviceSearch {
  std::optional<DeviceProperties> found;
  std::string problem;
};

// Never throws: no driver, an old driver, no such card, a card that is too old are all a problem.
DeviceSearch find_device(int ordinal);

class Device {
 public:
  // Throws Error(kDeviceUnavailable) with what find_device() says.
  explicit Device(int ordinal);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceProperties& properties() const { return properties_; }
  size_t free_bytes() const;

  // Device memory, 256-byte aligned; its first contents are arbitrary. Waits. Throws
  // Error(kOutOfMemory).
  Buffer allocate(size_t bytes);
  // Host memory that uploads and downloads may use. Throws Error(kOutOfMemory).
  Buffer allocate_pinned(size_t bytes);

  // `pinned` must stay as it is until the next synchronize().
  void upload(void* to, const void* pinned, size_t bytes);
  // `pinned` holds the bytes after the next synchronize().
  void download(void* pinned, const void* from, size_t bytes);
  void copy(void* to, const void* from, size_t bytes);
  void clear(void* to, size_t bytes);
  // Waits for the stream. Throws Error(kDevice) if anything on it failed.
  void synchronize();

  // The stream as launch.cuh and libraries need it: a cudaStream_t, or the emulation's.
  void* stream() const { return stream_; }

 private:
  DeviceProperties properties_;
  void* stream_ = nullptr;
};

}  // namespace block_attention::cuda
