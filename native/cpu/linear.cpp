#include "cpu/linear.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "cpu/host_memory.hpp"
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
static_assert(ActivationPacking::kScratchFloats <= kWideFloats);
constexpr int64_t kGateFloats = 2 * kMaxBlockRows * kPanelsPerTask * kPanelColumns;
constexpr int64_t kWorkerFloats = kWideFloats + kMaxBlockRows * kPanelColumns;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

LinearOp::LinearOp(ThreadPool& pool, Isa isa)
    : pool_(pool),
      isa_(isa),
      kernels_(linear_kernels(isa)),
      pairs_(bf16_pair_kernels()),
      packing_(isa),
      amx_(pool, isa),
      worker_scratch_(allocate_host_memory(static_cast<size_t>(pool.threads() * kWorkerFloats) *
                                           sizeof(float))),
      gate_scratch_(
          allocate_host_memory(static_cast<size_t>(pool.threads() * kGateFloats) * sizeof(float))) {
}

void LinearOp::run(const Tensor& x, const PackedLinear& weight, const Tensor& out,
                   const NextReads& next) {
  check_linear_shape(x, weight, out);
  // So few rows are never packed for tiles.
  if (x.packed && in_order_of_tiles(weight) && x.rows < kAmxGroupRows)
    throw Error(ErrorCode::kInternal, "linear: x is packed for another kernel");
  if (in_order_of_tiles(weight) && x.rows > kOrderOfTilesRows) return amx_.run(x, weight, out);
  run(x, weight, &out, nullptr, nullptr, next);
}

Tensor LinearOp::run_gated(const Tensor& x, const PackedLinear& weight, const Gate& gate,
                           const PackedLinear* then) {
  check_linear_shape(x, weight, gate.out, true);
  // Groups of rows and the layout are others with tiles.
  const bool tiles = in_order_of_tiles(weight);
  if (then != nullptr && in_order_of_tiles(*then) != tiles) then = nullptr;
  if (tiles) return amx_.run_gated(x, weight, gate.out, then);
  Tensor out = gate.out;
  out.packed = then != nullptr && out.stride == out.cols;  // there has to be room
  const Gate packing = {gate.swiglu, out};
  run(x, weight, nullptr, &packing, then, {});
  return out;
}

void LinearOp::run(const Tensor& x, const PackedLinear& weight, const Tensor* out, const Gate* gate,
                   const PackedLinear* then, const NextReads& next) {
  LinearTile tile{};
  tile.panels = weight.panels();
  tile.format = weight.linear_format();
  tile.order_of_tiles = in_order_of_tiles(weight);
  tile.steps = weight.steps();
  tile.out_features = weight.out_features();
  tile.bias = weight.bias();
  for (int64_t row = 0; row < x.rows; row += kPassRows) {
    tile.rows = std::min(kPassRows, x.rows - row);
    tile.groups = ceil_div(tile.rows, kernels_.group_rows);
    if (out != nullptr) {
      tile.out = out->f32() + row * out->stride;
      tile.out_stride = out->stride;
    }
    const Tensor rows = x.row_range(row, tile.rows);
    PassGate pass_gate{};
    if (gate != nullptr) {
      pass_gate.gate = {gate->swiglu, gate->out.row_range(row, tile.rows)};
      if (gate->out.packed)
        pass_gate.packed = {then->linear_format(), tile.rows, tile.groups, then->steps()};
    }
    const PassGate* const gate_at = gate == nullptr ? nullptr : &pass_gate;
    if (tile.rows <= kernels_.direct_rows && gate == nullptr && !x.packed) {
      run_direct(rows, tile, next);
    } else {
      run_repacked(rows, tile, gate_at);
    }
  }
}

bool LinearOp::in_order_of_tiles(const PackedLinear& weight) const {
  return weight.linear_format() == LinearFormat::kBF16Pairs && isa_ == Isa::kAmxBf16;
}

NextReads LinearOp::reads(const PackedLinear& weight, int64_t rows) const {
  if (rows > (in_order_of_tiles(weight) ? kOrderOfTilesRows : kernels_.direct_rows)) return {};
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
            kernels_.direct, nullptr, next);
}

void LinearOp::run_repacked(const Tensor& x, LinearTile tile, const PassGate* gate) {
  if (x.packed) {
    tile.x = x.f32();
  } else {
    float* packed = activations(tile.rows * tile.steps);
    repack(x, {tile.format, tile.rows, tile.groups, tile.steps}, packed);
    tile.x = packed;
  }
  const int64_t blocks = ceil_div(tile.groups, kBlockRows / kernels_.group_rows);
  const int64_t step = kernels_.tile_panels(tile.rows);
  const int64_t fair = task_panels(tile, gate) * blocks / (kTasksPerThread * pool_.threads());
  run_tiles(tile, blocks, std::clamp(fair / step * step, step, kPanelsPerTask), kernels_.repacked,
            gate);
}

void LinearOp::repack(const Tensor& x, const PackedShape& shape, float* packed) {
  const int64_t sum_blocks = ceil_div(shape.steps, kSumBlock);
  const int64_t inputs_per_step = ceil_div(x.cols, shape.steps);
  pool_.run_in_order(shape.groups * sum_blocks, [&](int64_t task, int worker) {
    const int64_t group = task / sum_blocks;
    const int64_t first_step = task % sum_blocks * kSumBlock;
    const int64_t first_input = first_step * inputs_per_step;
    // The panels are not widened before this is done: their place is free.
    packing_.pack(shape, group, first_step, std::min(kSumBlock, shape.steps - first_step),
                  x.f32() + group_begin(shape.rows, shape.groups, group) * x.stride + first_input,
                  x.stride, x.cols - first_input, worker_scratch(worker), packed);
  });
}

float* LinearOp::worker_scratch(int worker) {
  return static_cast<float*>(worker_scratch_.data()) + worker * kWorkerFloats;
}

float* LinearOp::gate_scratch(int worker) {
  return static_cast<float*>(gate_scratch_.data()) + worker * kGateFloats;
}

int64_t LinearOp::task_panels(const LinearTile& tile, const PassGate* gate) {
  return panels_of(tile.out_features) / (gate == nullptr ? 1 : 2);
}

void LinearOp::run_tiles(const LinearTile& whole, int64_t blocks, int64_t chunk,
                         void (*kernel)(const LinearTile&), const PassGate* gate,
                         const NextReads& next) {
  const int64_t panels = task_panels(whole, gate);
  const auto run_part = [&](const TilePart& part, int worker) {
    if (gate != nullptr) return run_gated_part(whole, part, worker, kernel, *gate);
    LinearTile tile = whole;
    tile.part = part;
    tile.wide = worker_scratch(worker);
    tile.ragged = tile.wide + kWideFloats;
    kernel(tile);
  };
  for_each_tile_part(pool_, whole.groups, blocks, panels, chunk, run_part, next);
}

void LinearOp::run_gated_part(const LinearTile& whole, const TilePart& part, int worker,
                              void (*kernel)(const LinearTile&), const PassGate& gate) {
  const auto begin_of = [&](int64_t group) { return group_begin(whole.rows, whole.groups, group); };
  const int64_t first_row = begin_of(part.row_group_from);
  LinearTile tile = whole;
  tile.wide = worker_scratch(worker);
  tile.origin.row = first_row;
  const auto product = [&](const TilePart& half, float* out, int64_t out_stride) {
    tile.part = half;
    tile.out = out;
    tile.out_stride = out_stride;
    tile.origin.panel = half.panel_from;
    kernel(tile);
  };
  const int64_t columns = (part.panel_to - part.panel_from) * kPanelColumns;
  const int64_t first_column = part.panel_from * kPanelColumns;
  const GatedPart gated = {begin_of(part.row_group_to) - first_row, columns, gate_scratch(worker)};
  const int64_t half = task_panels(whole, &gate);
  const Tensor& out = gate.gate.out;
  if (!out.packed) {
    return compute_gated(gate.gate, gated, part, half,
                         out.f32() + first_row * out.stride + first_column, out.stride, product);
  }
  compute_gated(gate.gate, gated, part, half, gated.scratch, 2 * columns, product);
  const int64_t inputs_per_step = out.cols / gate.packed.steps;
  for (int64_t group = part.row_group_from; group < part.row_group_to; ++group) {
    packing_.pack(gate.packed, group, first_column / inputs_per_step, columns / inputs_per_step,
                  gated.scratch + (begin_of(group) - first_row) * 2 * columns, 2 * columns, columns,
                  tile.wide, out.f32());
  }
}

}  // namespace block_attention
