// The packed weight of `linear` in its stored precision. Rows can be looked up in it, too
// (embedding.hpp), so that tied embeddings are held once.
//
// Layout: panels of 16 output features; within a panel in_features x 16 elements, the 16 features
// of one input lying side by side. Of a bf16 weight where has_bf16_dots() pairs of inputs take the
// place of inputs: bf16_pairs(in_features) x 16 pairs. What is left of the last panel, or pair, is
// zero.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear_kernels.hpp"
#include "cpu/packed_rows.hpp"
#include "cpu/thread_pool.hpp"
#include "model/backend.hpp"

namespace block_attention {

class PackedLinear final : public LinearWeight {
 public:
  // `panels` holds panel_count() x steps() x 16 values of `format`; `bias` is empty or
  // panel_count() x 16 floats.
  PackedLinear(LinearFormat format, int64_t out_features, int64_t in_features, Buffer panels,
               Buffer bias);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  WeightFormat format() const override { return WeightFormat::kStored; }
  size_t bytes() const override { return panels_.bytes() + bias_.bytes(); }

  LinearFormat linear_format() const { return format_; }
  // Inputs, or pairs of them.
  int64_t steps() const { return linear_steps(format_, in_features_); }
  int64_t panel_count() const { return panels_of(out_features_); }
  const void* panels() const { return panels_.data(); }
  size_t panel_bytes() const {
    return static_cast<size_t>(steps() * kPanelColumns) * step_bytes(format_);
  }
  // The weights of one feature, as float32.
  void read_row(int64_t feature, float* out) const;
  // nullptr without a bias.
  const float* bias() const { return static_cast<const float*>(bias_.data()); }

 private:
  LinearFormat format_;
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
