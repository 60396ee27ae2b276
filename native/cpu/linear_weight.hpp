// The packed weight of `linear` in its stored precision. Rows can be looked up in it, too
// (embedding.hpp), so that tied embeddings are held once.
//
// Layout, the same for every instruction set: panels of 16 output features; within a panel
// in_features x 16 elements, the 16 features of one input lying side by side. The last panel is
// padded with zeros.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.hpp"
#include "cpu/isa.hpp"
#include "cpu/packed_rows.hpp"
#include "cpu/thread_pool.hpp"
#include "model/backend.hpp"

namespace block_attention {

class PackedLinear final : public LinearWeight {
 public:
  // `panels` holds panel_count() x in_features x 16 elements of `dtype`; `bias` is empty or
  // panel_count() x 16 floats.
  PackedLinear(DType dtype, int64_t out_features, int64_t in_features, Buffer panels, Buffer bias);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  WeightFormat format() const override { return WeightFormat::kStored; }
  size_t bytes() const override { return panels_.bytes() + bias_.bytes(); }

  DType dtype() const { return dtype_; }
  int64_t panel_count() const { return panels_of(out_features_); }
  const void* panel(int64_t index) const {
    return static_cast<const char*>(panels_.data()) +
           static_cast<size_t>(index * in_features_ * kPanelColumns) * dtype_size(dtype_);
  }
  // nullptr without a bias.
  const float* bias() const { return static_cast<const float*>(bias_.data()); }

 private:
  DType dtype_;
  int64_t out_features_;
  int64_t in_features_;
  Buffer panels_;
  Buffer bias_;
};

// Stacks `parts` along the output features and packs them. Passes on what reading throws; throws
// Error(kInvalidArgument) if parts differ in dtype or in_features or the bias has another length,
// Error(kOutOfMemory).
std::unique_ptr<PackedLinear> pack_linear(ThreadPool& pool, Isa isa,
                                          std::span<const HostMatrix> parts,
                                          std::span<const float> bias);

}  // namespace block_attention
