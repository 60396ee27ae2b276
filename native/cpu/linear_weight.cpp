#include "cpu/linear_weight.hpp"

#include <utility>

#include "cpu/host_memory.hpp"
#include "cpu/interleave.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention {

PackedLinear::PackedLinear(DType dtype, int64_t out_features, int64_t in_features, Buffer panels,
                           Buffer bias)
    : dtype_(dtype),
      out_features_(out_features),
      in_features_(in_features),
      panels_(std::move(panels)),
      bias_(std::move(bias)) {}

std::unique_ptr<PackedLinear> pack_linear(ThreadPool& pool, Isa isa,
                                          std::span<const HostMatrix> parts,
                                          std::span<const float> bias) {
  const StackedShape shape = stacked_shape(parts, bias);
  const size_t panel_bytes =
      static_cast<size_t>(shape.in_features * kPanelColumns) * dtype_size(shape.dtype);
  Buffer data =
      allocate_host_memory(static_cast<size_t>(panels_of(shape.out_features)) * panel_bytes);
  const InterleaveKernels kernels = interleave_kernels(isa);
  const auto interleave = dtype_size(shape.dtype) == 2 ? kernels.words16 : kernels.words32;
  for_each_panel(pool, parts, [&](const PanelRows& panel) {
    interleave(panel.rows, panel.columns, shape.in_features,
               static_cast<char*>(data.data()) + static_cast<size_t>(panel.panel) * panel_bytes,
               kPanelColumns);
  });
  return std::make_unique<PackedLinear>(shape.dtype, shape.out_features, shape.in_features,
                                        std::move(data), panel_bias(bias));
}

}  // namespace block_attention
