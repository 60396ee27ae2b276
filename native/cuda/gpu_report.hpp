// What GPU there is and how it would be used, for people who ask before they load a model.
#pragma once

#include <string>

#include "cuda/device.hpp"

namespace block_attention::cuda {

struct GpuReport {
  DeviceSearch device;
  // With a device: what linear layers would run on, as CudaLinear::description().
  std::string gemm;
  // Why that is not cuBLASLt; empty if it is.
  std::string gemm_problem;
};

// Takes a moment: asks the driver, and opens cuBLASLt. Throws nothing of its own: a device that
// cannot be used is a problem.
GpuReport report_gpu(int ordinal);

}  // namespace block_attention::cuda
