// The device of the CUDA tests: the emulation, or the first card. Where there is none, a test skips
// and says why.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "cuda/device.hpp"

namespace block_attention::cuda::test {

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const DeviceSearch search = find_device(0);
    if (!search.found.has_value()) GTEST_SKIP() << search.problem;
    device_ = std::make_unique<Device>(0);
  }

  Device& device() { return *device_; }

 private:
  std::unique_ptr<Device> device_;
};

}  // namespace block_attention::cuda::test
