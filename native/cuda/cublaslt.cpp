#include "cuda/cublaslt.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <utility>

#include "core/error.hpp"
#include "cuda/cublaslt_files.hpp"
#include "cuda/linear.hpp"

namespace block_attention::cuda {
namespace {

// ---- what of cublasLt.h, cublas_api.h and library_types.h is used; NVIDIA keeps it binary
// compatible within and across the major versions that are looked for.

using Handle = void*;
using MatmulDesc = void*;
using Layout = void*;
using Preference = void*;
using Status = int;

constexpr Status kSuccess = 0;
constexpr int kReal32F = 0;         // CUDA_R_32F
constexpr int kReal16F = 2;         // CUDA_R_16F
constexpr int kReal16BF = 14;       // CUDA_R_16BF
constexpr int kCompute32F = 68;     // CUBLAS_COMPUTE_32F
constexpr int32_t kTransposed = 1;  // CUBLAS_OP_T
constexpr uint32_t kEpilogueBias = 4;
constexpr int kDescTransA = 3;
constexpr int kDescEpilogue = 7;
constexpr int kDescBiasPointer = 8;
constexpr int kPreferenceWorkspace = 1;
constexpr int kPreferenceAlignmentA = 5;  // then B, C, D
constexpr int kPropertyMajor = 0;
constexpr int kPropertyMinor = 1;

struct Algorithm {
  uint64_t data[8];
};

struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

struct Functions {
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  Status (*get_property)(int, int*);
  Status (*desc_create)(MatmulDesc*, int compute_type, int scale_type);
  Status (*desc_destroy)(MatmulDesc);
  Status (*desc_set)(MatmulDesc, int attribute, const void*, size_t);
  Status (*layout_create)(Layout*, int type, uint64_t rows, uint64_t cols, int64_t leading);
  Status (*layout_destroy)(Layout);
  Status (*preference_create)(Preference*);
  Status (*preference_destroy)(Preference);
  Status (*preference_set)(Preference, int attribute, const void*, size_t);
  Status (*heuristic)(Handle, MatmulDesc, Layout a, Layout b, Layout c, Layout d, Preference,
                      int wanted, HeuristicResult*, int* found);
  Status (*matmul)(Handle, MatmulDesc, const void* alpha, const void* a, Layout, const void* b,
                   Layout, const void* beta, const void* c, Layout, void* d, Layout,
                   const Algorithm*, void* workspace, size_t workspace_bytes, void* stream);
};

// What Hopper's kernels ask for at most.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
// More shapes than this are not remembered: row counts come from an endless set.
constexpr size_t kMaxPlans = 4096;
constexpr uint32_t kMaxAlignment = 256;

template <typename Function>
bool resolve(void* library, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) missing = name;
  return function != nullptr;
}

// Names the function that is missing, if one is.
std::string resolve_all(void* library, Functions& to) {
  std::string missing;
  static_cast<void>(
      resolve(library, "cublasLtCreate", to.create, missing) &&
      resolve(library, "cublasLtDestroy", to.destroy, missing) &&
      resolve(library, "cublasLtGetProperty", to.get_property, missing) &&
      resolve(library, "cublasLtMatmulDescCreate", to.desc_create, missing) &&
      resolve(library, "cublasLtMatmulDescDestroy", to.desc_destroy, missing) &&
      resolve(library, "cublasLtMatmulDescSetAttribute", to.desc_set, missing) &&
      resolve(library, "cublasLtMatrixLayoutCreate", to.layout_create, missing) &&
      resolve(library, "cublasLtMatrixLayoutDestroy", to.layout_destroy, missing) &&
      resolve(library, "cublasLtMatmulPreferenceCreate", to.preference_create, missing) &&
      resolve(library, "cublasLtMatmulPreferenceDestroy", to.preference_destroy, missing) &&
      resolve(library, "cublasLtMatmulPreferenceSetAttribute", to.preference_set, missing) &&
      resolve(library, "cublasLtMatmulAlgoGetHeuristic", to.heuristic, missing) &&
      resolve(library, "cublasLtMatmul", to.matmul, missing));
  return missing;
}

void* open_library(std::string& problem) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* chosen = std::getenv("BLOCK_ATTENTION_CUBLASLT");
  if (chosen != nullptr && *chosen != '\0') {
    void* library = dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc's dlerror is per thread.
      problem = std::string("BLOCK_ATTENTION_CUBLASLT: ") + dlerror();
    }
    return library;
  }
  for (const char* name : kCublasLtNames) {
    void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) return library;
  }
  for (const std::string& file : cublaslt_files()) {
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) return library;
  }
  problem = "cuBLASLt (libcublasLt.so.13 or .so.12) was not found";
  return nullptr;
}

int cuda_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return kReal32F;
    case DType::kBF16:
      return kReal16BF;
    case DType::kF16:
      return kReal16F;
    case DType::kI8:
      break;
  }
  throw Error(ErrorCode::kInternal, "no matrix product of the GPU has int8");
}

void check(Status status, const char* what) {
  if (status == kSuccess) return;
  throw Error(ErrorCode::kDevice,
              std::string(what) + " failed with cuBLAS status " + std::to_string(status));
}

uint32_t alignment_of(const void* data) {
  const auto at = reinterpret_cast<uintptr_t>(data);
  return at == 0 ? kMaxAlignment
                 : static_cast<uint32_t>(std::min<uintptr_t>(at & (~at + 1), kMaxAlignment));
}

// What an algorithm is chosen by.
struct PlanKey {
  int64_t rows;
  int64_t out_features;
  int64_t in_features;
  int64_t x_stride;
  int64_t out_stride;
  DType element;
  DType out;
  bool bias;
  uint32_t x_alignment;
  uint32_t out_alignment;

  auto operator<=>(const PlanKey&) const = default;
};

// Column-major, as cuBLAS counts: out^T [out_features, rows] = weight x^T, where the stored weight
// [out_features][in_features] is its own transpose.
struct Plan {
  const Functions* functions = nullptr;
  MatmulDesc desc = nullptr;
  Layout weight = nullptr;
  Layout x = nullptr;
  Layout out = nullptr;
  bool usable = false;  // an algorithm was found
  Algorithm algorithm = {};

  explicit Plan(const Functions& used) : functions(&used) {}
  ~Plan() {
    if (desc != nullptr) functions->desc_destroy(desc);
    for (const Layout layout : {weight, x, out}) {
      if (layout != nullptr) functions->layout_destroy(layout);
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
};

}  // namespace

struct CublasLt::State {
  Device& device;
  void* library = nullptr;
  Functions functions = {};
  Handle handle = nullptr;
  Buffer workspace;
  std::map<PlanKey, std::unique_ptr<Plan>> plans;

  explicit State(Device& used) : device(used) {}
  ~State() {
    plans.clear();
    if (handle != nullptr) functions.destroy(handle);
    // The library stays open: NVIDIA's have threads and exit handlers of their own.
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Plan& plan_for(const PlanKey& key, const void* bias);
  std::unique_ptr<Plan> make_plan(const PlanKey& key, const void* bias);
};

std::unique_ptr<Plan> CublasLt::State::make_plan(const PlanKey& key, const void* bias) {
  auto plan = std::make_unique<Plan>(functions);
  const auto rows = static_cast<uint64_t>(key.rows);
  const auto out_features = static_cast<uint64_t>(key.out_features);
  const auto in_features = static_cast<uint64_t>(key.in_features);
  check(functions.desc_create(&plan->desc, kCompute32F, kReal32F), "cublasLtMatmulDescCreate");
  check(functions.desc_set(plan->desc, kDescTransA, &kTransposed, sizeof kTransposed),
        "cublasLtMatmulDescSetAttribute");
  if (key.bias) {
    check(functions.desc_set(plan->desc, kDescEpilogue, &kEpilogueBias, sizeof kEpilogueBias),
          "cublasLtMatmulDescSetAttribute");
    // Its alignment counts here; each product sets its own.
    check(functions.desc_set(plan->desc, kDescBiasPointer, &bias, sizeof bias),
          "cublasLtMatmulDescSetAttribute");
  }
  check(functions.layout_create(&plan->weight, cuda_type(key.element), in_features, out_features,
                                key.in_features),
        "cublasLtMatrixLayoutCreate");
  check(functions.layout_create(&plan->x, cuda_type(key.element), in_features, rows, key.x_stride),
        "cublasLtMatrixLayoutCreate");
  check(functions.layout_create(&plan->out, cuda_type(key.out), out_features, rows, key.out_stride),
        "cublasLtMatrixLayoutCreate");

  Preference preference = nullptr;
  check(functions.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<void, Status (*)(Preference)> owner(preference,
                                                            functions.preference_destroy);
  const uint64_t workspace_bytes = workspace.bytes();
  check(functions.preference_set(preference, kPreferenceWorkspace, &workspace_bytes,
                                 sizeof workspace_bytes),
        "cublasLtMatmulPreferenceSetAttribute");
  const uint32_t alignments[] = {kMaxAlignment, key.x_alignment, key.out_alignment,
                                 key.out_alignment};
  for (int i = 0; i < 4; ++i) {
    check(functions.preference_set(preference, kPreferenceAlignmentA + i, &alignments[i],
                                   sizeof alignments[i]),
          "cublasLtMatmulPreferenceSetAttribute");
  }
  HeuristicResult result = {};
  int found = 0;
  const Status status = functions.heuristic(handle, plan->desc, plan->weight, plan->x, plan->out,
                                            plan->out, preference, 1, &result, &found);
  plan->usable = status == kSuccess && found > 0 && result.state == kSuccess;
  plan->algorithm = result.algorithm;
  return plan;
}

Plan& CublasLt::State::plan_for(const PlanKey& key, const void* bias) {
  const auto known = plans.find(key);
  if (known != plans.end()) return *known->second;
  if (plans.size() >= kMaxPlans) plans.clear();
  return *(plans[key] = make_plan(key, bias));
}

CublasLt::CublasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
CublasLt::~CublasLt() = default;

CublasLtSearch CublasLt::load(Device& device) {
  auto state = std::make_unique<State>(device);
  std::string problem;
  state->library = open_library(problem);
  if (state->library == nullptr) return {nullptr, problem};
  const std::string missing = resolve_all(state->library, state->functions);
  if (!missing.empty()) return {nullptr, "cuBLASLt has no " + missing};
  // Also makes the device this thread's own.
  state->workspace = device.allocate(kWorkspaceBytes);
  const Status status = state->functions.create(&state->handle);
  if (status != kSuccess) {
    return {nullptr, "cublasLtCreate failed with cuBLAS status " + std::to_string(status)};
  }
  return {std::unique_ptr<CublasLt>(new CublasLt(std::move(state))), ""};
}

void CublasLt::matmul(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out) {
  if (x.rows == 0) return;
  const bool has_bias = weight.bias() != nullptr;
  // The epilogue takes a bias of the output's type.
  const void* bias = out.dtype == DType::kF32 ? weight.bias() : weight.element_bias();
  if (has_bias && bias == nullptr) return linear_mma(state_->device, x, weight, out);
  const PlanKey key = {x.rows,
                       weight.out_features(),
                       weight.in_features(),
                       x.rows > 1 ? x.stride : x.cols,
                       out.rows > 1 ? out.stride : out.cols,
                       x.dtype,
                       out.dtype,
                       has_bias,
                       alignment_of(x.data),
                       alignment_of(out.data)};
  Plan& plan = state_->plan_for(key, bias);
  if (!plan.usable) return linear_mma(state_->device, x, weight, out);
  const Functions& functions = state_->functions;
  if (has_bias) {
    check(functions.desc_set(plan.desc, kDescBiasPointer, &bias, sizeof bias),
          "cublasLtMatmulDescSetAttribute");
  }
  const float one = 1;
  const float zero = 0;
  check(functions.matmul(state_->handle, plan.desc, &one, weight.data(), plan.weight, x.data,
                         plan.x, &zero, out.data, plan.out, out.data, plan.out, &plan.algorithm,
                         state_->workspace.data(), state_->workspace.bytes(),
                         state_->device.stream()),
        "cublasLtMatmul");
}

std::string CublasLt::version() const {
  int major = 0;
  int minor = 0;
  static_cast<void>(state_->functions.get_property(kPropertyMajor, &major));
  static_cast<void>(state_->functions.get_property(kPropertyMinor, &minor));
  return std::to_string(major) + "." + std::to_string(minor);
}

}  // namespace block_attention::cuda
