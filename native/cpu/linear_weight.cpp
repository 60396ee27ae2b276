#include "cpu/linear_weight.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/interleave.hpp"
#include "model/stacked_shape.hpp"

namespace block_attention {
namespace {

// Panels that a worker packs in one go: long enough runs of the source file, short enough to share
// out a small matrix.
constexpr int64_t kPanelsPerTask = 4;

// Output features first .. first + count - 1 of the stack, to `out`.
void read_stacked(std::span<const HostMatrix> parts, int64_t first, int64_t count, char* out) {
  for (const HostMatrix& part : parts) {
    const int64_t rows = std::min(count, part.rows - first);
    if (rows > 0) {
      part.read(first, rows, out);
      out += static_cast<size_t>(rows * part.cols) * dtype_size(part.dtype);
      count -= rows;
      first = 0;
    } else {
      first -= part.rows;
    }
    if (count == 0) return;
  }
}

// Keeps the first exception of any worker, since a task of the pool must not throw.
class FirstError {
 public:
  template <typename Body>
  void guard(Body body) {
    if (failed_) return;
    try {
      body();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      failed_ = true;
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace

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
  const int64_t panels = (shape.out_features + kPanelColumns - 1) / kPanelColumns;
  const size_t panel_bytes =
      static_cast<size_t>(shape.in_features * kPanelColumns) * dtype_size(shape.dtype);
  Buffer data = allocate_host_memory(static_cast<size_t>(panels) * panel_bytes);
  Buffer bias_data;
  if (!bias.empty()) {
    bias_data = allocate_host_memory(static_cast<size_t>(panels * kPanelColumns) * sizeof(float));
    std::memcpy(bias_data.data(), bias.data(), bias.size_bytes());
  }

  const InterleaveKernels kernels = interleave_kernels(isa);
  const auto interleave = dtype_size(shape.dtype) == 2 ? kernels.words16 : kernels.words32;
  char* packed = static_cast<char*>(data.data());
  const size_t row_bytes = static_cast<size_t>(shape.in_features) * dtype_size(shape.dtype);
  const int64_t rows_per_task = kPanelsPerTask * kPanelColumns;
  const Buffer staging =
      allocate_host_memory(static_cast<size_t>(pool.threads() * rows_per_task) * row_bytes);
  FirstError error;
  pool.run((panels + kPanelsPerTask - 1) / kPanelsPerTask, [&](int64_t task, int worker) {
    error.guard([&] {
      char* source = static_cast<char*>(staging.data()) +
                     static_cast<size_t>(worker * rows_per_task) * row_bytes;
      const int64_t first = task * rows_per_task;
      const int64_t count = std::min(rows_per_task, shape.out_features - first);
      read_stacked(parts, first, count, source);
      for (int64_t row = 0; row < count; row += kPanelColumns) {
        const void* rows[kPanelColumns];
        const int64_t columns = std::min(kPanelColumns, count - row);
        for (int64_t i = 0; i < columns; ++i)
          rows[i] = source + static_cast<size_t>(row + i) * row_bytes;
        interleave(rows, columns, shape.in_features,
                   packed + static_cast<size_t>((first + row) / kPanelColumns) * panel_bytes,
                   kPanelColumns);
      }
    });
  });
  error.rethrow();
  return std::make_unique<PackedLinear>(shape.dtype, shape.out_features, shape.in_features,
                                        std::move(data), std::move(bias_data));
}

void embedding(ThreadPool& pool, const PackedLinear& table, std::span<const int32_t> tokens,
               const Tensor& out) {
  const int64_t width = table.in_features();
  if (out.dtype != DType::kF32 || out.cols != width ||
      out.rows != static_cast<int64_t>(tokens.size())) {
    throw Error(ErrorCode::kInvalidArgument,
                "embedding: the output must be float32 of tokens x in_features");
  }
  for (int32_t token : tokens) {
    if (token < 0 || token >= table.out_features()) {
      throw Error(ErrorCode::kInvalidArgument, "token id " + std::to_string(token) +
                                                   " is outside the vocabulary of " +
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
