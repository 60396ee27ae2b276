#include "addon/devices.hpp"

#include "core/error.hpp"
#include "cpu/cpu_backend.hpp"

#ifdef BLOCK_ATTENTION_CUDA_BACKEND
#include "cuda/cuda_backend.hpp"
#include "cuda/gpu_report.hpp"
#endif

namespace block_attention::addon {
namespace {

#ifdef BLOCK_ATTENTION_CUDA_BACKEND
// The same sources over the CUDA runtime, or over the emulation: one addon has one of them.
#ifdef BLOCK_ATTENTION_CUDA_EMULATED
constexpr DeviceKind kBuilt = DeviceKind::kCudaEmulated;
#else
constexpr DeviceKind kBuilt = DeviceKind::kCuda;
#endif

std::unique_ptr<Backend> make_gpu_backend(const DeviceSpec& spec) {
  return cuda::make_cuda_backend({.deterministic = spec.deterministic});
}
#else
constexpr DeviceKind kBuilt = DeviceKind::kCpu;

std::unique_ptr<Backend> make_gpu_backend(const DeviceSpec&) { return nullptr; }
#endif

constexpr const char* kNotBuilt =
    "this build of the addon has no CUDA backend: where nvcc is, build it by "
    "\"npm run build:cuda\"";

// What of the options the CPU alone computes; "" if there is nothing.
std::string for_the_cpu(const DeviceSpec& spec) {
  const auto alone = [](const std::string& option) {
    return option + " is computed on the CPU alone";
  };
  if (spec.weight_format == WeightFormat::kInt8) return alone("dtype int8");
  if (spec.kv_dtype == DType::kI8 || spec.kv_dtype == DType::kF32)
    return alone(std::string("kvDtype ") + dtype_name(*spec.kv_dtype));
  if (spec.float32) return alone("arithmetic f32");
  return "";
}

}  // namespace

std::vector<const char*> built_devices() {
  switch (kBuilt) {
    case DeviceKind::kCuda:
      return {"cpu", "cuda"};
    case DeviceKind::kCudaEmulated:
      return {"cpu", "cuda-emulated"};
    default:
      return {"cpu"};
  }
}

GpuDescription describe_gpu() {
  GpuDescription gpu;
#ifdef BLOCK_ATTENTION_CUDA_BACKEND
  const cuda::GpuReport report = cuda::report_gpu(cuda::CudaBackendOptions{}.ordinal);
  gpu.problem = report.device.problem;
  if (report.device.found) {
    gpu.name = report.device.found->name;
    gpu.compute_capability = report.device.found->compute_capability;
    gpu.memory_bytes = report.device.found->memory_bytes;
    gpu.gemm = report.gemm;
    gpu.gemm_problem = report.gemm_problem;
  }
#else
  gpu.problem = kNotBuilt;
#endif
  return gpu;
}

ChosenDevice choose_device(const DeviceSpec& spec) {
  ChosenDevice chosen;
  switch (spec.kind) {
    case DeviceKind::kCpu:
      break;
    case DeviceKind::kCuda:
      if (kBuilt != DeviceKind::kCuda) throw Error(ErrorCode::kDeviceUnavailable, kNotBuilt);
      chosen.backend = make_gpu_backend(spec);
      break;
    case DeviceKind::kCudaEmulated:
      if (kBuilt != DeviceKind::kCudaEmulated)
        throw Error(ErrorCode::kUnsupported,
                    "device \"cuda-emulated\" is in builds for tests only");
      chosen.backend = make_gpu_backend(spec);
      break;
    case DeviceKind::kAuto:
      chosen.problem = kBuilt == DeviceKind::kCuda ? for_the_cpu(spec) : kNotBuilt;
      if (!chosen.problem.empty()) break;
      try {
        chosen.backend = make_gpu_backend(spec);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kDeviceUnavailable) throw;
        chosen.problem = error.what();
      }
      break;
  }
  if (chosen.backend == nullptr) {
    chosen.backend = make_cpu_backend(spec.threads, default_isa(spec.float32));
  } else if (spec.float32) {
    throw Error(ErrorCode::kUnsupported,
                "arithmetic f32: a GPU multiplies numbers of 16 bits; use device \"cpu\"");
  }
  return chosen;
}

}  // namespace block_attention::addon
