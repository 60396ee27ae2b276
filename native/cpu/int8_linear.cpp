#include "cpu/int8_linear.hpp"

#include <algorithm>

#include "cpu/amx_int8_scratch.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/linear_shape.hpp"
#include "cpu/stream_output.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {
namespace {

// Rows whose activations stay in a second-level cache while panels pass by, by vectors and by
// tiles, and rows that are quantised at once, which bounds the scratch memory; weights are read
// again for the next.
constexpr int64_t kBlockRows = 192;
constexpr int64_t kAmxBlockRows = kAmxInt8PartRowGroups * kInt8MostRows;
constexpr int64_t kPassRows = 3 * kAmxBlockRows;
static_assert(kBlockRows <= kInt8RaggedRows && kAmxBlockRows <= kInt8RaggedRows);
constexpr int64_t kPanelsPerTask = 8;
static_assert(kPanelsPerTask <= kAmxInt8PartPanels);
constexpr int64_t kTasksPerThread = 8;
// Groups of values that are worth waking a worker for.
constexpr int64_t kGroupsPerTask = 256;

constexpr int64_t kRaggedFloats = kInt8RaggedRows * kPanelColumns;
constexpr int64_t kGateFloats = 2 * kInt8RaggedRows * kPanelsPerTask * kPanelColumns;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void grow(Buffer& buffer, size_t bytes) {
  if (buffer.bytes() >= bytes) return;
  buffer = {};
  buffer = allocate_host_memory(bytes);
}

}  // namespace

Int8LinearOp::Int8LinearOp(ThreadPool& pool, Isa isa, Int8Dot dot)
    : pool_(pool),
      isa_(isa),
      dot_(dot),
      ragged_(allocate_host_memory(static_cast<size_t>(pool.threads() * kRaggedFloats) *
                                   sizeof(float))),
      gate_scratch_(
          allocate_host_memory(static_cast<size_t>(pool.threads() * kGateFloats) * sizeof(float))) {
  if (dot != Int8Dot::kAmx) return;
  amx_ = allocate_host_memory(static_cast<size_t>(pool.threads()) * sizeof(AmxInt8Scratch));
}

void Int8LinearOp::run(const Tensor& x, const PackedInt8& weight, const Tensor& out,
                       const NextReads& next) {
  check_linear_shape(x, weight, out);
  run(x, weight, &out, nullptr, next);
}

void Int8LinearOp::run_gated(const Tensor& x, const PackedInt8& weight, const Gate& gate) {
  check_linear_shape(x, weight, gate.out, true);
  run(x, weight, nullptr, &gate, {});
}

void Int8LinearOp::run(const Tensor& x, const PackedInt8& weight, const Tensor* out,
                       const Gate* gate, const NextReads& next) {
  const int64_t groups = int8_groups(weight.in_features());
  Int8Tile tile{};
  tile.x = make_room(std::min(kPassRows, x.rows), groups);
  tile.values = weight.values();
  tile.scales = weight.scales();
  tile.bias = weight.bias();
  tile.in_features = weight.in_features();
  tile.out_features = weight.out_features();
  for (int64_t row = 0; row < x.rows; row += kPassRows) {
    tile.call = ++calls_;
    tile.rows = std::min(kPassRows, x.rows - row);
    const Int8Kernels kernels = int8_kernels(isa_, dot_, tile.rows);
    tile.row_groups = ceil_div(tile.rows, kernels.group_rows);
    quantize(x.row_range(row, tile.rows), kernels, tile);
    // What is left for the last pass may be too few rows for the kernel of those before.
    const bool gates = gate != nullptr && kernels.gates;
    tile.half = gates ? panels_of(weight.out_features()) / 2 : 0;
    if (out != nullptr || gates) {
      const Tensor& to = gates ? gate->out : *out;
      tile.out = to.f32() + row * to.stride;
      tile.out_stride = to.stride;
      tile.stream = streams(to, pool_.threads());
      run_tiles(kernels, tile, nullptr, next);
    } else {
      const Gate at = {gate->swiglu, gate->out.row_range(row, tile.rows)};
      run_tiles(kernels, tile, &at, next);
    }
  }
}

Int8Terms Int8LinearOp::make_room(int64_t rows, int64_t groups) {
  const int64_t count = rows * groups;
  // Whole tiles are loaded, whatever lies behind the last rows.
  const int64_t padding = dot_ == Int8Dot::kAmx ? kInt8MostRows * kInt8RowBytes : 0;
  const int64_t term_bytes = count * kInt8RowBytes + padding;
  const int64_t scale_bytes = count * static_cast<int64_t>(sizeof(float));
  grow(values_, static_cast<size_t>(2 * term_bytes));
  grow(scales_, static_cast<size_t>(4 * scale_bytes));
  grow(rows_with_second_, static_cast<size_t>(count) * sizeof(uint16_t));
  const auto term = [&](int64_t index) {
    char* values = static_cast<char*>(values_.data()) + index * term_bytes;
    char* scales = static_cast<char*>(scales_.data()) + 2 * index * scale_bytes;
    return Int8Rows{values, reinterpret_cast<float*>(scales),
                    reinterpret_cast<int32_t*>(scales + scale_bytes)};
  };
  return {term(0), term(1), static_cast<uint16_t*>(rows_with_second_.data())};
}

void Int8LinearOp::quantize(const Tensor& x, const Int8Kernels& kernels, const Int8Tile& tile) {
  const int64_t groups = int8_groups(tile.in_features);
  const auto quantize_rows = int8_quantize_kernels(isa_, kernels.inputs).activations;
  const auto quantize_group = [&](int64_t row_group) {
    const int64_t begin = group_begin(tile.rows, tile.row_groups, row_group);
    const int64_t rows = group_begin(tile.rows, tile.row_groups, row_group + 1) - begin;
    const int64_t first = begin * groups;
    const auto at_group = [&](const Int8Rows& term) {
      return Int8Rows{term.values + first * kInt8RowBytes, term.scales + first,
                      term.corrections + first};
    };
    quantize_rows(x.f32() + begin * x.stride, x.stride, rows, x.cols,
                  {at_group(tile.x.first), at_group(tile.x.second),
                   tile.x.rows_with_second + row_group * groups});
  };
  const int64_t per_task =
      std::max<int64_t>(1, kGroupsPerTask / (groups * ceil_div(tile.rows, tile.row_groups)));
  pool_.run_in_order(ceil_div(tile.row_groups, per_task), [&](int64_t task, int) {
    const int64_t end = std::min(tile.row_groups, (task + 1) * per_task);
    for (int64_t group = task * per_task; group < end; ++group) quantize_group(group);
  });
}

AmxInt8Scratch* Int8LinearOp::amx_scratch(int worker) const {
  return static_cast<AmxInt8Scratch*>(amx_.data()) + worker;
}

NextReads Int8LinearOp::reads(const PackedInt8& weight, int64_t rows) const {
  if (rows != 1) return {};
  const int64_t panels = panels_of(weight.out_features());
  const int64_t chunk = panels_per_task(panels, 1, int8_kernels(isa_, dot_, 1).tile_panels(1));
  const int64_t panel_bytes = int8_groups(weight.in_features()) * kInt8Group * kPanelColumns;
  return {reinterpret_cast<const char*>(weight.values()), ceil_div(panels, chunk),
          static_cast<size_t>(chunk * panel_bytes), 1, 0};
}

int64_t Int8LinearOp::panels_per_task(int64_t panels, int64_t blocks, int64_t step) const {
  const int64_t fair = panels * blocks / (kTasksPerThread * pool_.threads());
  return std::clamp(fair / step * step, step, std::max(step, kPanelsPerTask));
}

void Int8LinearOp::run_tiles(const Int8Kernels& kernels, const Int8Tile& whole, const Gate* gate,
                             const NextReads& next) {
  const int64_t block_rows = kernels.inputs == Int8Dot::kAmx ? kAmxBlockRows : kBlockRows;
  const int64_t blocks = ceil_div(whole.row_groups, block_rows / kernels.group_rows);
  const int64_t together = kernels.groups_at_once;
  const bool gates = gate != nullptr || whole.half > 0;
  const int64_t panels = panels_of(whole.out_features) / (gates ? 2 : 1);
  float* ragged = static_cast<float*>(ragged_.data());
  float* gate_scratch = static_cast<float*>(gate_scratch_.data());
  // `runs`: counted in as many groups of rows as are computed together.
  const auto run_part = [&](const TilePart& runs, int worker) {
    TilePart part = runs;
    part.row_group_from = runs.row_group_from * together;
    part.row_group_to = std::min(whole.row_groups, runs.row_group_to * together);
    Int8Tile tile = whole;
    tile.part = part;
    tile.ragged = ragged + worker * kRaggedFloats;
    if (amx_.data() != nullptr) tile.amx = amx_scratch(worker);
    if (gate == nullptr) return kernels.tile(tile);
    const int64_t first = group_begin(whole.rows, whole.row_groups, part.row_group_from);
    const int64_t end = group_begin(whole.rows, whole.row_groups, part.row_group_to);
    tile.origin.row = first;
    const auto product = [&](const TilePart& half, float* out, int64_t out_stride) {
      tile.part = half;
      tile.out = out;
      tile.out_stride = out_stride;
      tile.origin.panel = half.panel_from;
      kernels.tile(tile);
    };
    const int64_t columns = (part.panel_to - part.panel_from) * kPanelColumns;
    compute_gated(*gate, {end - first, columns, gate_scratch + worker * kGateFloats}, part, panels,
                  gate->out.f32() + first * gate->out.stride + part.panel_from * kPanelColumns,
                  gate->out.stride, product);
  };
  for_each_tile_part(pool_, ceil_div(whole.row_groups, together), blocks, panels,
                     panels_per_task(panels, blocks, kernels.tile_panels(whole.rows)), run_part,
                     next);
}

}  // namespace block_attention
