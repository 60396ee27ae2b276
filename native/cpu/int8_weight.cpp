#include "cpu/int8_weight.hpp"

#include <utility>

#include "cpu/host_memory.hpp"
#include "cpu/int8_quantize.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention {

PackedInt8::PackedInt8(Int8Dot dot, int64_t out_features, int64_t in_features, Buffer values,
                       Buffer scales, Buffer bias)
    : dot_(dot),
      out_features_(out_features),
      in_features_(in_features),
      values_(std::move(values)),
      scales_(std::move(scales)),
      bias_(std::move(bias)) {}

float PackedInt8::at(int64_t feature, int64_t input) const {
  const int64_t panel = feature / kPanelColumns;
  const int64_t column = feature % kPanelColumns;
  const int64_t groups = int8_groups(in_features_);
  const int64_t width = dot_inputs(dot_);
  const uint8_t byte =
      values()[panel * groups * kInt8Group * kPanelColumns + input / width * width * kPanelColumns +
               column * width + input % width];
  const int value = dot_ == Int8Dot::kQuads ? byte - 128 : static_cast<int8_t>(byte);
  const uint16_t scale = scales()[(panel * groups + input / kInt8Group) * kPanelColumns + column];
  return static_cast<float>(value) * bf16_to_f32(scale);
}

std::unique_ptr<PackedInt8> pack_int8(ThreadPool& pool, Isa isa, Int8Dot dot,
                                      std::span<const HostMatrix> parts,
                                      std::span<const float> bias) {
  const StackedShape shape = stacked_shape(parts, bias);
  const int64_t scales_of_panel = int8_groups(shape.in_features) * kPanelColumns;
  const int64_t panels = panels_of(shape.out_features);
  Buffer values =
      allocate_weight_memory(static_cast<size_t>(panels * scales_of_panel * kInt8Group));
  Buffer scales =
      allocate_weight_memory(static_cast<size_t>(panels * scales_of_panel) * sizeof(uint16_t));
  const auto quantize = int8_quantize_kernels(isa, dot).weights;
  for_each_panel(pool, parts, [&](const PanelRows& panel) {
    const int64_t first_scale = panel.panel * scales_of_panel;
    quantize(panel, shape.dtype, shape.in_features,
             static_cast<uint8_t*>(values.data()) + first_scale * kInt8Group,
             static_cast<uint16_t*>(scales.data()) + first_scale);
  });
  return std::make_unique<PackedInt8>(dot, shape.out_features, shape.in_features, std::move(values),
                                      std::move(scales), panel_bias(bias));
}

}  // namespace block_attention
