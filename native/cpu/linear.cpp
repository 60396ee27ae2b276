#include "cpu/linear.hpp"

#include <algorithm>

#include "cpu/host_memory.hpp"
#include "cpu/interleave.hpp"
#include "cpu/linear_shape.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {
namespace {

// Rows whose repacked activations (one block of inputs of them) stay in a second-level cache while
// panels pass by.
constexpr int64_t kBlockRows = 192;
// Rows repacked at once, which bounds the scratch memory; weights are read again for the next.
constexpr int64_t kPassRows = 4 * kBlockRows;
constexpr int64_t kPanelsPerTask = 8;
constexpr int64_t kTasksPerThread = 8;

constexpr int64_t kWideFloats = kMaxWidePanels * kSumBlock * kPanelColumns;
constexpr int64_t kWorkerFloats = kWideFloats + kMaxBlockRows * kPanelColumns;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

LinearOp::LinearOp(ThreadPool& pool, Isa isa)
    : pool_(pool),
      isa_(isa),
      kernels_(linear_kernels(isa)),
      worker_scratch_(allocate_host_memory(static_cast<size_t>(pool.threads() * kWorkerFloats) *
                                           sizeof(float))) {}

void LinearOp::run(const Tensor& x, const PackedLinear& weight, const Tensor& out) {
  check_linear_shape(x, weight, out);
  LinearTile tile{};
  tile.panels = weight.panel(0);
  tile.dtype = weight.dtype();
  tile.in_features = weight.in_features();
  tile.out_features = weight.out_features();
  tile.bias = weight.bias();
  tile.x_stride = x.stride;
  tile.out_stride = out.stride;
  for (int64_t row = 0; row < x.rows; row += kPassRows) {
    tile.x = x.f32() + row * x.stride;
    tile.out = out.f32() + row * out.stride;
    tile.rows = std::min(kPassRows, x.rows - row);
    if (tile.rows <= kernels_.direct_rows) {
      run_direct(tile);
    } else {
      run_repacked(tile);
    }
  }
}

void LinearOp::run_direct(LinearTile tile) {
  tile.groups = ceil_div(tile.rows, kernels_.group_rows);
  run_tiles(tile, 1, kernels_.tile_panels(tile.rows), kernels_.direct);
}

void LinearOp::run_repacked(LinearTile tile) {
  tile.groups = ceil_div(tile.rows, kernels_.group_rows);
  const size_t bytes = static_cast<size_t>(tile.rows * tile.in_features) * sizeof(float);
  if (activations_.bytes() < bytes) {
    activations_ = {};
    activations_ = allocate_host_memory(bytes);
  }
  float* packed = static_cast<float*>(activations_.data());
  repack(tile, packed);
  tile.x = packed;

  const int64_t blocks = ceil_div(tile.groups, kBlockRows / kernels_.group_rows);
  const int64_t step = kernels_.tile_panels(tile.rows);
  const int64_t panels = ceil_div(tile.out_features, kPanelColumns);
  const int64_t fair = panels * blocks / (kTasksPerThread * pool_.threads());
  run_tiles(tile, blocks, std::clamp(fair / step * step, step, kPanelsPerTask), kernels_.repacked);
}

void LinearOp::repack(const LinearTile& tile, float* packed) {
  const auto interleave = interleave_kernels(isa_).words32;
  const int64_t sum_blocks = ceil_div(tile.in_features, kSumBlock);
  pool_.run(tile.groups * sum_blocks, [&](int64_t task, int) {
    const int64_t group = task / sum_blocks;
    const int64_t first_input = task % sum_blocks * kSumBlock;
    const int64_t inputs = std::min(kSumBlock, tile.in_features - first_input);
    const int64_t begin = group_begin(tile.rows, tile.groups, group);
    const int64_t rows = group_begin(tile.rows, tile.groups, group + 1) - begin;
    const void* sources[32];
    for (int64_t i = 0; i < rows; ++i)
      sources[i] = tile.x + (begin + i) * tile.x_stride + first_input;
    interleave(sources, rows, inputs, packed + tile.rows * first_input + begin * inputs, rows);
  });
}

void LinearOp::run_tiles(const LinearTile& whole, int64_t blocks, int64_t chunk,
                         void (*kernel)(const LinearTile&)) {
  const int64_t panels = ceil_div(whole.out_features, kPanelColumns);
  float* scratch = static_cast<float*>(worker_scratch_.data());
  for_each_tile_part(pool_, whole.groups, blocks, panels, chunk,
                     [&](const TilePart& part, int worker) {
                       LinearTile tile = whole;
                       tile.part = part;
                       tile.wide = scratch + worker * kWorkerFloats;
                       tile.ragged = tile.wide + kWideFloats;
                       kernel(tile);
                     });
}

}  // namespace block_attention
