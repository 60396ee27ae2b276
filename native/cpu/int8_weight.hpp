// The packed weight of `linear` in int8 (int8_format.hpp), quantised as it is packed.
//
// Layout: panels of 16 output features; within a panel, for as many inputs as one instruction takes
// (dot_inputs), 16 features x these inputs of one byte. Behind them all the scales: panel, group,
// 16 features, as bfloat16. Inputs are padded with zeros to whole groups, features to whole panels.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.hpp"
#include "cpu/int8_format.hpp"
#include "cpu/isa.hpp"
#include "cpu/packed_rows.hpp"
#include "cpu/thread_pool.hpp"
#include "model/backend.hpp"
#include "model/packed_weights.hpp"

namespace block_attention {

// Of the values of a weight.
constexpr size_t int8_value_bytes(int64_t out_features, int64_t in_features) {
  return static_cast<size_t>(panels_of(out_features) * int8_groups(in_features) * kPanelColumns *
                             kInt8Group);
}
// Of values and scales.
constexpr size_t packed_int8_bytes(int64_t out_features, int64_t in_features) {
  const size_t values = int8_value_bytes(out_features, in_features);
  return values + values / kInt8Group * sizeof(uint16_t);
}

// Names the layout, as above and in int8_format.hpp.
std::string int8_layout(Int8Dot dot);

class PackedInt8 final : public LinearWeight {
 public:
  // `packed` holds packed_int8_bytes(): panels_of(out_features) x int8_groups(in_features) x 64 x
  // 16 values, then one scale for 64 of them; `bias` is empty or panels x 16 floats.
  PackedInt8(Int8Dot dot, int64_t out_features, int64_t in_features, Buffer packed, Buffer bias);

  int64_t out_features() const override { return out_features_; }
  int64_t in_features() const override { return in_features_; }
  WeightFormat format() const override { return WeightFormat::kInt8; }
  size_t bytes() const override { return packed_.bytes() + bias_.bytes(); }

  Int8Dot dot() const { return dot_; }
  const uint8_t* values() const { return static_cast<const uint8_t*>(packed_.data()); }
  const uint16_t* scales() const {
    return reinterpret_cast<const uint16_t*>(values() +
                                             int8_value_bytes(out_features_, in_features_));
  }
  // Values and scales.
  std::span<const char> packed() const {
    return {static_cast<const char*>(packed_.data()), packed_.bytes()};
  }
  // nullptr without a bias.
  const float* bias() const { return static_cast<const float*>(bias_.data()); }

  // The weights of one feature: what products take them for. `out` has room for in_features().
  void read_row(int64_t feature, float* out) const;

 private:
  Int8Dot dot_;
  int64_t out_features_;
  int64_t in_features_;
  Buffer packed_;
  Buffer bias_;
};

// Stacks `parts` along the output features, quantises and packs them. `input_norm` as in
// Backend::make_linear: the larger an input, the less its weights are to err. Passes on what
// reading throws; throws Error(kInvalidArgument) as pack_linear does, Error(kOutOfMemory).
std::unique_ptr<PackedInt8> pack_int8(ThreadPool& pool, Isa isa, Int8Dot dot,
                                      std::span<const HostMatrix> parts,
                                      std::span<const float> bias,
                                      std::span<const float> input_norm = {});

// Of what packed() gave of a weight in the layout of `dot`. Passes on what reading throws; throws
// Error(kOutOfMemory).
std::unique_ptr<PackedInt8> restore_int8(ThreadPool& pool, Int8Dot dot, const PackedMatrix& matrix,
                                         std::span<const float> bias);

}  // namespace block_attention
