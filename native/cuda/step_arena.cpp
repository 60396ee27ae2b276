#include "cuda/step_arena.hpp"

#include <algorithm>

namespace block_attention::cuda {
namespace {

constexpr size_t kAlignment = 16;
constexpr size_t kChunkBytes = size_t{1} << 20;

}  // namespace

StepArena::Place StepArena::take(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (chunk_ < chunks_.size() && used_ + bytes > chunks_[chunk_].host.bytes()) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const size_t size = std::max(bytes, kChunkBytes);
    chunks_.push_back({device_.allocate_pinned(size), device_.allocate(size)});
  }
  const Chunk& chunk = chunks_[chunk_];
  const Place place = {static_cast<char*>(chunk.host.data()) + used_,
                       static_cast<char*>(chunk.device.data()) + used_};
  used_ += bytes;
  return place;
}

void StepArena::reset() {
  chunk_ = 0;
  used_ = 0;
}

}  // namespace block_attention::cuda
