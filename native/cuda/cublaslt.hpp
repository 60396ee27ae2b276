// Matrix products by NVIDIA's cuBLASLt, which is loaded at run time: nothing is linked, and a
// machine without it (or with a version that lacks a function) loses nothing but speed.
#pragma once

#include <memory>
#include <string>

#include "core/tensor.hpp"
#include "cuda/device.hpp"
#include "cuda/linear_weight.hpp"

namespace block_attention::cuda {

class CublasLt;

// The library, or in words why it cannot be used.
struct CublasLtSearch {
  std::unique_ptr<CublasLt> found;
  std::string problem;
};

class CublasLt {
 public:
  // Looks for the library by name (libcublasLt.so.13, .so.12, libcublasLt.so), then among
  // cublaslt_files(); BLOCK_ATTENTION_CUBLASLT=path names the file instead. Never throws but
  // Error(kOutOfMemory), for its workspace on the device.
  static CublasLtSearch load(Device& device);

  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // As CudaLinear::run, for tensors that check_linear() took. Throws Error(kDevice).
  void matmul(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out);

  // E.g. "13.0".
  std::string version() const;

 private:
  struct State;
  explicit CublasLt(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace block_attention::cuda
