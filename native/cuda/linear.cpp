#include "cuda/linear.hpp"

#include <utility>

namespace block_attention::cuda {

CudaLinear::CudaLinear(Device& device, bool deterministic) : device_(device) {
  if (deterministic) return;
  CublasLtSearch search = CublasLt::load(device);
  cublaslt_ = std::move(search.found);
  problem_ = std::move(search.problem);
}

void CudaLinear::run(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out) {
  if (cublaslt_ == nullptr) return linear_mma(device_, x, weight, out);
  check_linear(x, weight, out);
  cublaslt_->matmul(x, weight, out);
}

std::string CudaLinear::description() const {
  return cublaslt_ == nullptr ? "own GEMM (mma.sync)" : "cuBLASLt " + cublaslt_->version();
}

}  // namespace block_attention::cuda
