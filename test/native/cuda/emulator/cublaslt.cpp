// A library for real GPUs would not know what to do with an emulated stream.
#include "cuda/cublaslt.hpp"

#include "core/error.hpp"

namespace block_attention::cuda {

struct CublasLt::State {};

CublasLt::CublasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
CublasLt::~CublasLt() = default;

CublasLtSearch CublasLt::load(Device&) {
  return {nullptr, "there is no cuBLASLt for an emulated GPU"};
}

void CublasLt::matmul(const Tensor&, const CudaLinearWeight&, const Tensor&) {
  throw Error(ErrorCode::kInternal, "nobody can have loaded cuBLASLt");
}

std::string CublasLt::version() const { return ""; }

}  // namespace block_attention::cuda
