#include "cpu/int8_weight.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "cpu/first_error.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/int8_quantize.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention {
namespace {

// In each group in proportion to the norm's weights; kInt8ErrorSteps for the greatest, and for all
// where that says nothing.
std::vector<float> error_steps(std::span<const float> input_norm, int64_t in_features) {
  std::vector<float> steps(static_cast<size_t>(int8_groups(in_features) * kInt8Group),
                           kInt8ErrorSteps);
  for (size_t first = 0; first < input_norm.size(); first += kInt8Group) {
    const auto group =
        input_norm.subspan(first, std::min<size_t>(kInt8Group, input_norm.size() - first));
    float most = 0;
    for (const float weight : group) most = std::max(most, std::fabs(weight));
    if (!std::isnormal(most)) continue;
    for (size_t i = 0; i < group.size(); ++i)
      steps[first + i] = std::fabs(group[i]) / most * kInt8ErrorSteps;
  }
  return steps;
}

}  // namespace

std::string int8_layout(Int8Dot dot) {
  return std::to_string(dot_inputs(dot)) + " inputs side by side, panels of " +
         std::to_string(kPanelColumns) + ", groups of " + std::to_string(kInt8Group);
}

PackedInt8::PackedInt8(Int8Dot dot, int64_t out_features, int64_t in_features, Buffer packed,
                       Buffer bias)
    : dot_(dot),
      out_features_(out_features),
      in_features_(in_features),
      packed_(std::move(packed)),
      bias_(std::move(bias)) {}

void PackedInt8::read_row(int64_t feature, float* out) const {
  const int64_t panel = feature / kPanelColumns;
  const int64_t column = feature % kPanelColumns;
  const int64_t groups = int8_groups(in_features_);
  const int64_t width = dot_inputs(dot_);
  const auto* from = reinterpret_cast<const int8_t*>(values()) +
                     panel * groups * kInt8Group * kPanelColumns + column * width;
  const uint16_t* scale = scales() + panel * groups * kPanelColumns + column;
  for (int64_t group = 0; group < groups; ++group, scale += kPanelColumns) {
    const float step = bf16_to_f32(*scale);
    const int64_t end = std::min((group + 1) * kInt8Group, in_features_);
    for (int64_t k = group * kInt8Group; k < end; k += width, from += width * kPanelColumns) {
      const int64_t count = std::min(width, end - k);
      for (int64_t i = 0; i < count; ++i) out[k + i] = static_cast<float>(from[i]) * step;
    }
  }
}

std::unique_ptr<PackedInt8> pack_int8(ThreadPool& pool, Isa isa, Int8Dot dot,
                                      std::span<const HostMatrix> parts,
                                      std::span<const float> bias,
                                      std::span<const float> input_norm) {
  const StackedShape shape = stacked_shape(parts, bias);
  const int64_t scales_of_panel = int8_groups(shape.in_features) * kPanelColumns;
  Buffer packed = allocate_weight_memory(packed_int8_bytes(shape.out_features, shape.in_features));
  auto* values = static_cast<uint8_t*>(packed.data());
  auto* scales =
      reinterpret_cast<uint16_t*>(values + int8_value_bytes(shape.out_features, shape.in_features));
  const std::vector<float> steps = error_steps(input_norm, shape.in_features);
  const auto quantize = int8_quantize_kernels(isa, dot).weights;
  for_each_panel(pool, parts, [&](const PanelRows& panel) {
    const int64_t first_scale = panel.panel * scales_of_panel;
    quantize(panel, shape.dtype, shape.in_features, steps.data(), values + first_scale * kInt8Group,
             scales + first_scale);
  });
  return std::make_unique<PackedInt8>(dot, shape.out_features, shape.in_features, std::move(packed),
                                      panel_bias(bias));
}

std::unique_ptr<PackedInt8> restore_int8(ThreadPool& pool, Int8Dot dot, const PackedMatrix& matrix,
                                         std::span<const float> bias) {
  const size_t bytes = packed_int8_bytes(matrix.out_features, matrix.in_features);
  Buffer packed = allocate_weight_memory(bytes);
  FirstError error;
  pool.run(static_cast<int64_t>((bytes + kPackedSlice - 1) / kPackedSlice), [&](int64_t task, int) {
    const size_t index = static_cast<size_t>(task);
    const size_t offset = index * kPackedSlice;
    error.guard([&] {
      matrix.read(index, static_cast<char*>(packed.data()) + offset,
                  std::min(kPackedSlice, bytes - offset));
    });
  });
  error.rethrow();
  return std::make_unique<PackedInt8>(dot, matrix.out_features, matrix.in_features,
                                      std::move(packed), panel_bias(bias));
}

}  // namespace block_attention
