#include "cpu/linear_weight.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/interleave.hpp"

namespace block_attention {
namespace {

// Panels that a worker packs in one go: long enough runs of the source file, short enough to share out a small matrix.
constexpr int64_t kPanelsPerTask = 4;

struct Shape {
  DType dtype;
  int64_t out_features;
  int64_t in_features;
};

Shape stacked_shape(std::span<const HostMatrix> parts, std::span<const float> bias) {
  if (parts.empty()) throw Error(ErrorCode::kInvalidArgument, "a linear weight needs at least one matrix");
  Shape shape{parts[0].dtype, 0, parts[0].cols};
  for (const HostMatrix& part : parts) {
    if (part.dtype != shape.dtype || part.cols != shape.in_features) {
      throw Error(ErrorCode::kInvalidArgument,
                  "stacked matrices must agree: " + std::string(dtype_name(shape.dtype)) + " with " +
                      std::to_string(shape.in_features) + " input features and " + dtype_name(part.dtype) + " with " +
                      std::to_string(part.cols));
    }
    if (part.rows < 1 || part.cols < 1) {
      throw Error(ErrorCode::kInvalidArgument, "a linear weight needs at least one row and one column");
    }
    shape.out_features += part.rows;
  }
  if (!bias.empty() && static_cast<int64_t>(bias.size()) != shape.out_features) {
    throw Error(ErrorCode::kInvalidArgument, "bias has " + std::to_string(bias.size()) + " values for " +
                                                 std::to_string(shape.out_features) + " output features");
  }
  return shape;
}

// The source row of output feature `feature` of the stack.
const void* source_row(std::span<const HostMatrix> parts, int64_t feature) {
  size_t part = 0;
  while (feature >= parts[part].rows) feature -= parts[part++].rows;
  return static_cast<const char*>(parts[part].data) +
         static_cast<size_t>(feature * parts[part].cols) * dtype_size(parts[part].dtype);
}

}  // namespace

PackedLinear::PackedLinear(DType dtype, int64_t out_features, int64_t in_features, Buffer panels, Buffer bias)
    : dtype_(dtype),
      out_features_(out_features),
      in_features_(in_features),
      panels_(std::move(panels)),
      bias_(std::move(bias)) {}

std::unique_ptr<PackedLinear> pack_linear(ThreadPool& pool, Isa isa, std::span<const HostMatrix> parts,
                                          std::span<const float> bias) {
  const Shape shape = stacked_shape(parts, bias);
  const int64_t panels = (shape.out_features + kPanelColumns - 1) / kPanelColumns;
  const size_t panel_bytes = static_cast<size_t>(shape.in_features * kPanelColumns) * dtype_size(shape.dtype);
  Buffer data = allocate_host_memory(static_cast<size_t>(panels) * panel_bytes);
  Buffer bias_data;
  if (!bias.empty()) {
    bias_data = allocate_host_memory(static_cast<size_t>(panels * kPanelColumns) * sizeof(float));
    std::memcpy(bias_data.data(), bias.data(), bias.size_bytes());
  }

  const InterleaveKernels kernels = interleave_kernels(isa);
  const auto interleave = dtype_size(shape.dtype) == 2 ? kernels.words16 : kernels.words32;
  char* packed = static_cast<char*>(data.data());
  pool.run((panels + kPanelsPerTask - 1) / kPanelsPerTask, [&](int64_t task, int) {
    const int64_t end = std::min(panels, (task + 1) * kPanelsPerTask);
    for (int64_t panel = task * kPanelsPerTask; panel < end; ++panel) {
      const void* rows[kPanelColumns];
      const int64_t columns = std::min(kPanelColumns, shape.out_features - panel * kPanelColumns);
      for (int64_t i = 0; i < columns; ++i) rows[i] = source_row(parts, panel * kPanelColumns + i);
      interleave(rows, columns, shape.in_features, packed + static_cast<size_t>(panel) * panel_bytes, kPanelColumns);
    }
  });
  return std::make_unique<PackedLinear>(shape.dtype, shape.out_features, shape.in_features, std::move(data),
                                        std::move(bias_data));
}

void embedding(ThreadPool& pool, const PackedLinear& table, std::span<const int32_t> tokens, const Tensor& out) {
  const int64_t width = table.in_features();
  if (out.dtype != DType::kF32 || out.cols != width || out.rows != static_cast<int64_t>(tokens.size())) {
    throw Error(ErrorCode::kInvalidArgument, "embedding: the output must be float32 of tokens x in_features");
  }
  for (int32_t token : tokens) {
    if (token < 0 || token >= table.out_features()) {
      throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(token) + " is outside the vocabulary of " +
                                                   std::to_string(table.out_features()));
    }
  }
  pool.run(out.rows, [&](int64_t i, int) {
    const int64_t token = tokens[static_cast<size_t>(i)];
    const void* panel = table.panel(token / kPanelColumns);
    const size_t column = static_cast<size_t>(token % kPanelColumns);
    float* row = out.f32() + i * out.stride;
    for (int64_t k = 0; k < width; ++k) {
      row[k] = load_as_f32(panel, table.dtype(), static_cast<size_t>(k * kPanelColumns) + column);
    }
  });
}

}  // namespace block_attention
