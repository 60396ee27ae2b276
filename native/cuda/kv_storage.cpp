#include "cuda/kv_storage.hpp"

#include <string>

#include "core/error.hpp"

namespace block_attention::cuda {

size_t CudaKvStorage::bytes_per_page(const KvShape& shape) {
  return size_t{2} * kPageTokens * static_cast<size_t>(shape.num_layers) *
         static_cast<size_t>(shape.num_kv_heads) * static_cast<size_t>(shape.head_dim) *
         dtype_size(shape.dtype);
}

CudaKvStorage::CudaKvStorage(Device& device, const KvShape& shape, int32_t pages)
    : shape_(shape), pages_(pages) {
  if (shape.dtype == DType::kF32) {
    throw Error(ErrorCode::kUnsupported,
                "keys and values are bf16 or f16 on a GPU, not f32; leave kvDtype out");
  }
  const bool known = shape.head_dim % 16 == 0 && shape.head_dim > 0 &&
                     (shape.head_dim <= 128 || shape.head_dim == 256);
  if (!known) {
    throw Error(ErrorCode::kUnsupported,
                "head_dim " + std::to_string(shape.head_dim) +
                    ": the GPU kernels take multiples of 16 up to 128, and 256");
  }
  memory_ = device.allocate(bytes_per_page(shape) * static_cast<size_t>(pages));
}

KvView CudaKvStorage::view() const {
  KvView view;
  view.data = static_cast<char*>(memory_.data());
  view.page_bytes = static_cast<int64_t>(page_bytes());
  view.layer_bytes = view.page_bytes / shape_.num_layers;
  view.head_bytes = view.layer_bytes / shape_.num_kv_heads;
  view.head_dim = shape_.head_dim;
  return view;
}

}  // namespace block_attention::cuda
