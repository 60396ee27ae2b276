#include "cpu/packed_rows.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/first_error.hpp"
#include "cpu/host_memory.hpp"

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

}  // namespace

void for_each_panel(ThreadPool& pool, std::span<const HostMatrix> parts,
                    FunctionRef<void(const PanelRows&)> pack) {
  int64_t out_features = 0;
  for (const HostMatrix& part : parts) out_features += part.rows;
  const size_t row_bytes =
      static_cast<size_t>(parts.front().cols) * dtype_size(parts.front().dtype);
  const int64_t rows_per_task = kPanelsPerTask * kPanelColumns;
  const Buffer staging =
      allocate_host_memory(static_cast<size_t>(pool.threads() * rows_per_task) * row_bytes);
  FirstError error;
  pool.run((out_features + rows_per_task - 1) / rows_per_task, [&](int64_t task, int worker) {
    error.guard([&] {
      char* source = static_cast<char*>(staging.data()) +
                     static_cast<size_t>(worker * rows_per_task) * row_bytes;
      const int64_t first = task * rows_per_task;
      const int64_t count = std::min(rows_per_task, out_features - first);
      read_stacked(parts, first, count, source);
      for (int64_t row = 0; row < count; row += kPanelColumns) {
        PanelRows panel{(first + row) / kPanelColumns, std::min(kPanelColumns, count - row), {}};
        for (int64_t i = 0; i < panel.columns; ++i)
          panel.rows[i] = source + static_cast<size_t>(row + i) * row_bytes;
        pack(panel);
      }
    });
  });
  error.rethrow();
}

Buffer panel_bias(std::span<const float> bias) {
  if (bias.empty()) return {};
  Buffer padded = allocate_host_memory(
      static_cast<size_t>(panels_of(static_cast<int64_t>(bias.size())) * kPanelColumns) *
      sizeof(float));
  std::memcpy(padded.data(), bias.data(), bias.size_bytes());
  return padded;
}

}  // namespace block_attention
