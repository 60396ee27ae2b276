// Runs a lambda as a kernel and gives back what the emulation says of it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/error.hpp"
#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda::emulator {

// "" if nothing was wrong.
inline std::string run_lambda(const LaunchShape& shape, std::function<void()> kernel) {
  Device device(0);
  try {
    enqueue_launch(device, shape, "lambda", std::move(kernel));
    device.synchronize();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    return error.what();
  }
  return "";
}

inline std::string run_lambda(uint32_t threads, std::function<void()> kernel) {
  return run_lambda({.threads = threads, .shared_bytes = 32768}, std::move(kernel));
}

inline void expect_failure(const std::string& got, const std::string& part) {
  EXPECT_NE(got.find(part), std::string::npos) << "got \"" << got << "\"";
}

inline uint32_t lane() { return threadIdx.x % 32; }
inline uint32_t warp() { return threadIdx.x / 32; }

}  // namespace block_attention::cuda::emulator
