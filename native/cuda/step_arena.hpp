// Small arrays that a step hands to the device: plans, tokens, page lists, sampling parameters.
// They are written to pinned host memory and put on the stream at once; both sides grow until they
// hold a whole step and then allocate no more.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "cuda/device.hpp"

namespace block_attention::cuda {

class StepArena {
 public:
  explicit StepArena(Device& device) : device_(device) {}

  // The device's copy of `values`, 16-byte aligned, valid until reset(). Throws
  // Error(kOutOfMemory).
  template <typename T>
  const T* upload(std::span<const T> values) {
    const Place place = take(values.size_bytes());
    if (!values.empty()) {
      std::memcpy(place.host, values.data(), values.size_bytes());
      device_.upload(place.device, place.host, values.size_bytes());
    }
    return static_cast<const T*>(place.device);
  }
  template <typename T>
  const T* upload(const std::vector<T>& values) {
    return upload(std::span<const T>(values));
  }

  struct Place {
    void* host;
    void* device;
  };
  // Room on both sides, 16-byte aligned, valid until reset(). Throws Error(kOutOfMemory).
  Place take(size_t bytes);

  // All places are free again. Only after Device::synchronize().
  void reset();

 private:
  struct Chunk {
    Buffer host;
    Buffer device;
  };

  Device& device_;
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // the one that is being filled
  size_t used_ = 0;   // bytes of it
};

}  // namespace block_attention::cuda
