#include "cuda/rope_table.hpp"

#include <algorithm>
#include <utility>

#include "model/rope_angles.hpp"

namespace block_attention::cuda {
namespace {

constexpr int64_t kFewestPositions = 1024;

}  // namespace

CudaRopeTable::CudaRopeTable(Device& device, std::vector<double> inv_freq, double factor)
    : device_(device), inv_freq_(std::move(inv_freq)), factor_(factor) {}

void CudaRopeTable::ensure(int64_t positions) {
  if (positions <= positions_ || inv_freq_.empty()) return;
  const int64_t grown = std::max({positions, 2 * positions_, kFewestPositions});
  const size_t row_floats = 2 * inv_freq_.size();
  const size_t row_bytes = row_floats * sizeof(float);
  const auto before = static_cast<size_t>(positions_) * row_bytes;
  const auto added = static_cast<size_t>(grown - positions_);
  Buffer memory = device_.allocate(static_cast<size_t>(grown) * row_bytes);
  Buffer staging = device_.allocate_pinned(added * row_bytes);
  auto* rows = static_cast<float*>(staging.data());
  for (size_t i = 0; i < added; ++i) {
    rope_angles(inv_freq_, factor_, positions_ + static_cast<int64_t>(i), rows + i * row_floats);
  }
  if (before > 0) device_.copy(memory.data(), memory_.data(), before);
  device_.upload(static_cast<char*>(memory.data()) + before, rows, added * row_bytes);
  // What reads the old table must be done, too.
  device_.synchronize();
  memory_ = std::move(memory);
  positions_ = grown;
}

}  // namespace block_attention::cuda
