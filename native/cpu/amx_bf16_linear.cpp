#include "cpu/amx_bf16_linear.hpp"

#include <algorithm>

#include "cpu/host_memory.hpp"
#include "cpu/row_groups.hpp"
#include "cpu/stream_output.hpp"
#include "cpu/tile_parts.hpp"

namespace block_attention {
namespace {

// Of the second-level cache, what activations may take that panels pass by.
constexpr int64_t kBlockBytes = int64_t{1} << 20;
// Rows that are packed at once at most, which bounds the scratch memory.
constexpr int64_t kMostPassRows = 2048;
// So few rows are too little to wake a worker for.
constexpr int64_t kFewRows = 8;
constexpr int64_t kTasksPerThread = 8;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows whose activations, of a reach of inputs, stay in the cache.
int64_t rows_of_block(int64_t steps) {
  const int64_t row_bytes = std::min(amx_padded_pairs(steps), kAmxReach) * int64_t{sizeof(float)};
  constexpr int64_t kPassRows = 2 * kAmxGroupRows;
  return std::clamp(kBlockBytes / row_bytes / kPassRows * kPassRows, kPassRows, kAmxBlockRows);
}

}  // namespace

AmxBf16Linear::AmxBf16Linear(ThreadPool& pool, Isa isa)
    : pool_(pool), kernels_(amx_bf16_kernels()) {
  if (isa != Isa::kAmxBf16) return;
  scratch_ = allocate_host_memory(static_cast<size_t>(pool.threads()) * sizeof(AmxScratch));
}

void AmxBf16Linear::run(const Tensor& x, const PackedLinear& weight, const Tensor& out) {
  run(x, weight, 0, out);
}

Tensor AmxBf16Linear::run_gated(const Tensor& x, const PackedLinear& weight, const Tensor& out,
                                const PackedLinear* then) {
  Tensor result = out;
  // Whole steps, since what lies behind the last one would have to be zero; and room for the rows
  // of a tile that are nobody's.
  result.packed = then != nullptr && then->in_features() % (2 * kAmxStepPairs) == 0 &&
                  out.stride == out.cols && out.rows >= kAmxGroupRows;
  run(x, weight, weight.panel_count() / 2, result);
  return result;
}

void AmxBf16Linear::run(const Tensor& x, const PackedLinear& weight, int64_t half,
                        const Tensor& out) {
  AmxTile tile{};
  tile.panels = static_cast<const float*>(weight.panels());
  tile.steps = weight.steps();
  tile.out_features = weight.out_features();
  tile.bias = weight.bias();
  tile.half = half;
  tile.out_stride = out.stride;
  const int64_t block_rows = rows_of_block(tile.steps);
  // The same for every weight, so that outputs can be packed for the next one.
  const int64_t pass_rows = std::min(kAmxBlockRows * pool_.threads(), kMostPassRows);
  const int64_t pairs = amx_padded_pairs(tile.steps);
  tile.packed_pairs = out.packed ? out.cols / 2 : 0;
  tile.stream = !out.packed && streams(out, pool_.threads());
  for (int64_t row = 0; row < x.rows; row += pass_rows) {
    tile.rows = std::min(pass_rows, x.rows - row);
    tile.groups = ceil_div(tile.rows, kAmxGroupRows);
    tile.out = out.f32() + row * (out.packed ? tile.packed_pairs : out.stride);
    tile.x = x.packed ? x.f32() + row * pairs : pack(x.row_range(row, tile.rows), tile);
    multiply(tile, block_rows);
  }
}

const float* AmxBf16Linear::pack(const Tensor& x, const AmxTile& tile) {
  const int64_t pairs = amx_padded_pairs(tile.steps);
  const size_t bytes = static_cast<size_t>((tile.rows + kAmxGroupRows) * pairs) * sizeof(float);
  if (activations_.bytes() < bytes) {
    activations_ = {};
    activations_ = allocate_host_memory(bytes);
  }
  float* packed = static_cast<float*>(activations_.data());
  const auto pack_group = [&](int64_t group, int) {
    const int64_t begin = group_begin(tile.rows, tile.groups, group);
    const int64_t rows = group_begin(tile.rows, tile.groups, group + 1) - begin;
    kernels_.pack(x.f32() + begin * x.stride, x.stride, rows, x.cols, packed + begin * pairs);
  };
  if (tile.rows <= kFewRows) {
    pack_group(0, 0);
  } else {
    pool_.run_in_order(tile.groups, pack_group);
  }
  return packed;
}

void AmxBf16Linear::multiply(const AmxTile& whole, int64_t block_rows) {
  const int64_t blocks = ceil_div(whole.groups, block_rows / kAmxGroupRows);
  const int64_t panels = whole.half > 0 ? whole.half : panels_of(whole.out_features);
  const int64_t fair = panels * blocks / (kTasksPerThread * pool_.threads());
  const int64_t most = whole.half > 0 ? kAmxPartPanels / 2 : kAmxPartPanels;
  const int64_t chunk = std::clamp(fair / kAmxTilePanels * kAmxTilePanels, kAmxTilePanels, most);
  AmxScratch* scratch = static_cast<AmxScratch*>(scratch_.data());
  const auto run_part = [&](const TilePart& part, int worker) {
    AmxTile tile = whole;
    tile.part = part;
    tile.scratch = scratch + worker;
    kernels_.tile(tile);
  };
  for_each_tile_part(pool_, whole.groups, blocks, panels, chunk, run_part, {});
}

}  // namespace block_attention
