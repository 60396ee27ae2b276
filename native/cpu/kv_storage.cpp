#include "cpu/kv_storage.hpp"

#include <string>

#include "core/error.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/kv_int8.hpp"

namespace block_attention {
namespace {

// A kernel may load a whole vector where a shorter row ends.
constexpr size_t kTailBytes = 64;

size_t part_bytes(const KvShape& shape) {
  const size_t scale_bytes = shape.dtype == DType::kI8 ? sizeof(float) : 0;
  return (static_cast<size_t>(shape.head_dim) * dtype_size(shape.dtype) + scale_bytes) *
         CpuKvStorage::kPageTokens;
}

float element(const void* part, const KvShape& shape, int32_t index, int32_t slot) {
  if (shape.dtype != DType::kI8) return load_as_f32(part, shape.dtype, static_cast<size_t>(index));
  return static_cast<float>(static_cast<const int8_t*>(part)[index]) *
         int8_scales(part, shape.head_dim)[slot];
}

}  // namespace

size_t CpuKvStorage::bytes_per_page(const KvShape& shape) {
  return part_bytes(shape) * 2 * static_cast<size_t>(shape.num_layers) *
         static_cast<size_t>(shape.num_kv_heads);
}

CpuKvStorage::CpuKvStorage(const KvShape& shape, int32_t pages)
    : shape_(shape),
      pages_(pages),
      part_bytes_(block_attention::part_bytes(shape)),
      page_bytes_(bytes_per_page(shape)) {
  if (shape.dtype == DType::kF16) {
    throw Error(
        ErrorCode::kInvalidArgument,
        std::string("KV states are kept in bf16, f32 or int8, not in ") + dtype_name(shape.dtype));
  }
  if (shape.num_layers < 1 || shape.num_kv_heads < 1 || shape.head_dim < 1 || pages < 0) {
    throw Error(ErrorCode::kInvalidArgument, "the KV shape has a size below 1");
  }
  // The reservation below succeeds at almost any size; the system would end the process once too
  // many pages are written.
  const size_t memory = physical_memory_bytes();
  if (static_cast<size_t>(pages) > memory / page_bytes_) {
    throw Error(ErrorCode::kOutOfMemory,
                "the KV pool of " + std::to_string(pages) + " pages of " +
                    std::to_string(page_bytes_) + " bytes is larger than the machine's memory of " +
                    std::to_string(memory) + " bytes; give the cache a smaller budget");
  }
  memory_ = reserve_host_memory(static_cast<size_t>(pages) * page_bytes_ + kTailBytes);
}

float CpuKvStorage::key(PageId page, int32_t layer, int32_t kv_head, int32_t slot,
                        int32_t dim) const {
  return element(k(page, layer, kv_head), shape_, key_index(kv_pair(shape_.dtype), slot, dim),
                 slot);
}

float CpuKvStorage::value(PageId page, int32_t layer, int32_t kv_head, int32_t slot,
                          int32_t dim) const {
  return element(v(page, layer, kv_head), shape_,
                 value_index(kv_pair(shape_.dtype), shape_.head_dim, slot, dim), slot);
}

}  // namespace block_attention
