#include "cpu/linear_weight.hpp"

#include <cstring>
#include <utility>

#include "core/error.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/interleave.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention {
namespace {

LinearFormat format_of(DType dtype, Isa isa) {
  switch (dtype) {
    case DType::kF32:
      return LinearFormat::kF32;
    case DType::kBF16:
      return has_bf16_dots(isa) ? LinearFormat::kBF16Pairs : LinearFormat::kBF16;
    case DType::kF16:
      return LinearFormat::kF16;
    case DType::kI8:
      break;
  }
  throw Error(ErrorCode::kInternal, "a weight as it is stored cannot be int8");
}

// Rows that end in half a pair: the last one of each, behind the whole ones.
void pack_last_inputs(const PanelRows& panel, int64_t in_features, char* pairs) {
  for (int64_t i = 0; i < panel.columns; ++i) {
    const uint32_t whole = static_cast<uint32_t>(in_features / 2);
    std::memcpy(pairs + (whole * kPanelColumns + i) * 4,
                static_cast<const char*>(panel.rows[i]) + whole * 4, 2);
  }
}

}  // namespace

PackedLinear::PackedLinear(LinearFormat format, int64_t out_features, int64_t in_features,
                           Buffer panels, Buffer bias)
    : format_(format),
      out_features_(out_features),
      in_features_(in_features),
      panels_(std::move(panels)),
      bias_(std::move(bias)) {}

void PackedLinear::read_row(int64_t feature, float* out) const {
  const char* panel = static_cast<const char*>(panels_.data()) +
                      static_cast<size_t>(feature / kPanelColumns) * panel_bytes();
  const size_t column = static_cast<size_t>(feature % kPanelColumns);
  if (format_ == LinearFormat::kBF16Pairs) {
    for (size_t k = 0; k < static_cast<size_t>(in_features_); ++k)
      out[k] = load_as_f32(panel, DType::kBF16, (k / 2 * kPanelColumns + column) * 2 + k % 2);
    return;
  }
  const DType dtype = format_ == LinearFormat::kF32    ? DType::kF32
                      : format_ == LinearFormat::kBF16 ? DType::kBF16
                                                       : DType::kF16;
  for (size_t k = 0; k < static_cast<size_t>(in_features_); ++k)
    out[k] = load_as_f32(panel, dtype, k * kPanelColumns + column);
}

std::unique_ptr<PackedLinear> pack_linear(ThreadPool& pool, Isa isa,
                                          std::span<const HostMatrix> parts,
                                          std::span<const float> bias) {
  const StackedShape shape = stacked_shape(parts, bias);
  const LinearFormat format = format_of(shape.dtype, isa);
  const size_t panel_bytes =
      static_cast<size_t>(linear_steps(format, shape.in_features) * kPanelColumns) *
      step_bytes(format);
  Buffer data =
      allocate_weight_memory(static_cast<size_t>(panels_of(shape.out_features)) * panel_bytes);
  const InterleaveKernels kernels = interleave_kernels(isa);
  const auto interleave = step_bytes(format) == 2 ? kernels.words16 : kernels.words32;
  const bool pairs = format == LinearFormat::kBF16Pairs;
  for_each_panel(pool, parts, [&](const PanelRows& panel) {
    char* out = static_cast<char*>(data.data()) + static_cast<size_t>(panel.panel) * panel_bytes;
    interleave(panel.rows, panel.columns, pairs ? shape.in_features / 2 : shape.in_features, out,
               kPanelColumns);
    if (pairs && shape.in_features % 2 != 0) pack_last_inputs(panel, shape.in_features, out);
  });
  return std::make_unique<PackedLinear>(format, shape.out_features, shape.in_features,
                                        std::move(data), panel_bias(bias));
}

}  // namespace block_attention
