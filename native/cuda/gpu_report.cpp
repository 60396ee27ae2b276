#include "cuda/gpu_report.hpp"

#include <optional>

#include "core/error.hpp"
#include "cuda/linear.hpp"

namespace block_attention::cuda {

GpuReport report_gpu(int ordinal) {
  GpuReport report;
  report.device = find_device(ordinal);
  if (!report.device.found) return report;
  try {
    Device device(ordinal);
    const CudaLinear linear(device, /*deterministic=*/false);
    report.gemm = linear.description();
    report.gemm_problem = linear.problem();
  } catch (const Error& error) {
    // E.g. another process has all of its memory.
    report.device = {std::nullopt, report.device.found->name + ": " + error.what()};
  }
  return report;
}

}  // namespace block_attention::cuda
