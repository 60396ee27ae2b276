#include "cpu/linear.hpp"

#include <algorithm>

#include "cpu/amx_bf16_kernels.hpp"
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
constexpr int64_t kDirectPanelsPerTask = 4;
constexpr int64_t kTasksPerThread = 8;

constexpr int64_t kWideFloats = kMaxWidePanels * kSumBlock * kPanelColumns;
constexpr int64_t kMaxGroupRows = 32;
static_assert(kMaxGroupRows * kSumBlock <= kWideFloats);
constexpr int64_t kWorkerFloats = kWideFloats + kMaxBlockRows * kPanelColumns;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

LinearOp::LinearOp(ThreadPool& pool, Isa isa)
    : pool_(pool),
      isa_(isa),
      kernels_(linear_kernels(isa)),
      pairs_(bf16_pair_kernels()),
      worker_scratch_(allocate_host_memory(static_cast<size_t>(pool.threads() * kWorkerFloats) *
                                           sizeof(float))) {}

void LinearOp::run(const Tensor& x, const PackedLinear& weight, const Tensor& out,
                   const NextReads& next) {
  check_linear_shape(x, weight, out);
  LinearTile tile{};
  tile.panels = weight.panels();
  tile.format = weight.linear_format();
  tile.steps = weight.steps();
  tile.out_features = weight.out_features();
  tile.bias = weight.bias();
  tile.out_stride = out.stride;
  for (int64_t row = 0; row < x.rows; row += kPassRows) {
    tile.rows = std::min(kPassRows, x.rows - row);
    tile.groups = ceil_div(tile.rows, kernels_.group_rows);
    tile.out = out.f32() + row * out.stride;
    const Tensor rows = x.row_range(row, tile.rows);
    if (by_amx(weight)) {
      run_amx(rows, tile);
    } else if (tile.rows <= kernels_.direct_rows) {
      run_direct(rows, tile, next);
    } else {
      run_repacked(rows, tile);
    }
  }
}

bool LinearOp::by_amx(const PackedLinear& weight) const {
  return weight.linear_format() == LinearFormat::kBF16Pairs && isa_ == Isa::kAmxBf16;
}

NextReads LinearOp::reads(const PackedLinear& weight, int64_t rows) const {
  if (rows > kernels_.direct_rows || by_amx(weight)) return {};
  const int64_t step = kernels_.tile_panels(rows);
  const size_t run_bytes =
      static_cast<size_t>(direct_run(weight.out_features(), step)) * weight.panel_bytes();
  return {static_cast<const char*>(weight.panels()), pool_.threads(),
          static_cast<size_t>(step) * run_bytes, step, run_bytes};
}

int64_t LinearOp::direct_run(int64_t out_features, int64_t step) const {
  return out_features / kPanelColumns / (step * pool_.threads());
}

float* LinearOp::activations(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (activations_.bytes() < bytes) {
    activations_ = {};
    activations_ = allocate_host_memory(bytes);
  }
  return static_cast<float*>(activations_.data());
}

void LinearOp::run_direct(const Tensor& x, LinearTile tile, const NextReads& next) {
  tile.x = x.f32();
  tile.x_stride = x.stride;
  if (tile.format == LinearFormat::kBF16Pairs) {
    // Too little to wake a worker for.
    float* rounded = activations(tile.rows * tile.steps);
    for (int64_t i = 0; i < tile.rows; ++i)
      pairs_.round(x.f32() + i * x.stride, x.cols, rounded + i * tile.steps);
    tile.x = rounded;
    tile.x_stride = tile.steps;
  }
  const int64_t step = kernels_.tile_panels(tile.rows);
  // Every panel of a few that are computed at once is a stream of its own, and memory keeps up best
  // with streams that go on for long: each thread's share of the weight is cut into as many runs.
  tile.run = direct_run(tile.out_features, step);
  const int64_t panels = ceil_div(tile.out_features, kPanelColumns);
  const int64_t fair = panels / (kTasksPerThread * pool_.threads());
  run_tiles(tile, 1, std::clamp(fair / step * step, step, std::max(step, kDirectPanelsPerTask)),
            kernels_.direct, next);
}

void LinearOp::run_repacked(const Tensor& x, LinearTile tile) {
  float* packed = activations(tile.rows * tile.steps);
  repack(x, tile, packed);
  tile.x = packed;

  const int64_t blocks = ceil_div(tile.groups, kBlockRows / kernels_.group_rows);
  const int64_t step = kernels_.tile_panels(tile.rows);
  const int64_t panels = ceil_div(tile.out_features, kPanelColumns);
  const int64_t fair = panels * blocks / (kTasksPerThread * pool_.threads());
  run_tiles(tile, blocks, std::clamp(fair / step * step, step, kPanelsPerTask), kernels_.repacked);
}

void LinearOp::run_amx(const Tensor& x, LinearTile tile) {
  tile.groups = ceil_div(tile.rows, kAmxGroupRows);
  float* packed = activations((tile.rows + kAmxGroupRows) * amx_padded_pairs(tile.steps));
  repack_for_amx(x, tile, packed);
  tile.x = packed;
  const int64_t blocks = ceil_div(tile.groups, kBlockRows / kAmxGroupRows);
  const int64_t panels = ceil_div(tile.out_features, kPanelColumns);
  const int64_t fair = panels * blocks / (kTasksPerThread * pool_.threads());
  run_tiles(tile, blocks,
            std::clamp(fair / kAmxTilePanels * kAmxTilePanels, kAmxTilePanels, kPanelsPerTask),
            amx_bf16_kernel());
}

void LinearOp::repack_for_amx(const Tensor& x, const LinearTile& tile, float* packed) {
  const int64_t padded = amx_padded_pairs(tile.steps);
  const auto pack_group = [&](int64_t group, float* rounded) {
    const int64_t begin = group_begin(tile.rows, tile.groups, group);
    const int64_t rows = group_begin(tile.rows, tile.groups, group + 1) - begin;
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = x.f32() + (begin + i) * x.stride;
      for (int64_t first = 0; first < tile.steps; first += kSumBlock) {
        const int64_t pairs = std::min(kSumBlock, tile.steps - first);
        pairs_.round(row + 2 * first, std::min(2 * pairs, x.cols - 2 * first), rounded);
        const int64_t whole = amx_padded_pairs(pairs);
        std::fill(rounded + pairs, rounded + whole, 0.0f);
        for (int64_t k = 0; k < whole; k += kAmxStepPairs) {
          std::copy_n(rounded + k, kAmxStepPairs,
                      packed + begin * padded + (first + k) * rows + i * kAmxStepPairs);
        }
      }
    }
  };
  if (tile.groups == 1 && tile.rows <= kernels_.direct_rows)
    return pack_group(0, worker_scratch(0));  // too little to wake a worker for
  pool_.run(tile.groups,
            [&](int64_t group, int worker) { pack_group(group, worker_scratch(worker)); });
}

void LinearOp::repack(const Tensor& x, const LinearTile& tile, float* packed) {
  const auto interleave = interleave_kernels(isa_).words32;
  const int64_t sum_blocks = ceil_div(tile.steps, kSumBlock);
  const bool pairs = tile.format == LinearFormat::kBF16Pairs;
  pool_.run(tile.groups * sum_blocks, [&](int64_t task, int worker) {
    const int64_t group = task / sum_blocks;
    const int64_t first_step = task % sum_blocks * kSumBlock;
    const int64_t steps = std::min(kSumBlock, tile.steps - first_step);
    const int64_t begin = group_begin(tile.rows, tile.groups, group);
    const int64_t rows = group_begin(tile.rows, tile.groups, group + 1) - begin;
    const void* sources[kMaxGroupRows];
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = x.f32() + (begin + i) * x.stride;
      if (pairs) {
        // The panels are not widened before this is done.
        float* rounded = worker_scratch(worker) + i * kSumBlock;
        pairs_.round(row + 2 * first_step, std::min(2 * steps, x.cols - 2 * first_step), rounded);
        sources[i] = rounded;
      } else {
        sources[i] = row + first_step;
      }
    }
    interleave(sources, rows, steps, packed + tile.rows * first_step + begin * steps, rows);
  });
}

float* LinearOp::worker_scratch(int worker) {
  return static_cast<float*>(worker_scratch_.data()) + worker * kWorkerFloats;
}

void LinearOp::run_tiles(const LinearTile& whole, int64_t blocks, int64_t chunk,
                         void (*kernel)(const LinearTile&), const NextReads& next) {
  const int64_t panels = ceil_div(whole.out_features, kPanelColumns);
  const auto run_part = [&](const TilePart& part, int worker) {
    LinearTile tile = whole;
    tile.part = part;
    tile.wide = worker_scratch(worker);
    tile.ragged = tile.wide + kWideFloats;
    kernel(tile);
  };
  for_each_tile_part(pool_, whole.groups, blocks, panels, chunk, run_part, next);
}

}  // namespace block_attention
