#include "cpu/attention_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "cpu/amx_attention_kernels.hpp"
#include "cpu/attention_stages-inl.hpp"
#include "cpu/kv_int8-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Pages that are asked for before they are read: longer than memory takes to answer.
constexpr int32_t kPagesAhead = 4;

struct Scratch {
  float* query;    // [kMaxTileRows][kQueryStride], rotated and scaled
  float* scores;   // [kMaxTileRows][kScoreStride], then the weights
  float* outputs;  // [kMaxTileRows][kOutputStride]
  float* keys;     // [kCutPages][head_dim][16], widened
  float* values;   // [kCutKeys][padded head_dim], widened
};

Scratch split_scratch(float* scratch, int32_t head_dim) {
  Scratch s;
  s.query = scratch;
  s.scores = s.query + kMaxTileRows * kQueryStride;
  s.outputs = s.scores + kMaxTileRows * kScoreStride;
  s.keys = s.outputs + kMaxTileRows * kOutputStride;
  s.values = s.keys + kCutKeys * head_dim;
  return s;
}

int64_t scratch_size(const AttentionShape& shape) {
  return kMaxTileRows * (kQueryStride + kScoreStride + kOutputStride) +
         int64_t{kCutKeys} * shape.head_dim + int64_t{kCutKeys} * padded_head_dim(shape.head_dim);
}

Tile make_tile(const Scratch& scratch, const AttentionRow* rows, int32_t count) {
  Tile tile;
  tile.rows = rows;
  tile.alike = see_alike(rows, count);
  tile.query = scratch.query;
  tile.scores = scratch.scores;
  tile.outputs = scratch.outputs;
  return tile;
}

// The pages of a cut as one type, or what they were widened to.
template <typename T>
struct Pages {
  const T* k[kCutPages];
  const T* v[kCutPages];
  int32_t value_stride;  // between slots of v
};

// Integers are widened once for all tiles: the keys of `range`, and their values. (16-bit pages are
// widened by every tile as it loads them: that is quicker than a copy, whose float32 would not stay
// in the first cache level.)
void widen_cut(const AttentionCut& cut, KeyRange range, int32_t head_dim, const Scratch& scratch,
               Pages<float>& wide) {
  const int32_t padded = padded_head_dim(head_dim);
  wide.value_stride = padded;
  for (int32_t p = range.first / kPanel; p * kPanel < range.last; ++p) {
    float* keys = scratch.keys + p * kPanel * head_dim;
    float* values = scratch.values + p * kPanel * padded;
    wide.k[p] = keys;
    wide.v[p] = values;
    load_int8_slots(static_cast<const int8_t*>(cut.k[p]), int8_scales(cut.k[p], head_dim), head_dim,
                    keys);
    // Slots outside the range are not looked at: they may hold anything.
    const int32_t begin = p * kPanel < range.first ? range.first % kPanel : 0;
    const int32_t end = (p + 1) * kPanel > range.last ? range.last - p * kPanel : kPanel;
    const int8_t* from = static_cast<const int8_t*>(cut.v[p]);
    const float* scales = int8_scales(cut.v[p], head_dim);
    for (int32_t slot = begin; slot < end; ++slot)
      load_int8(from + slot * head_dim, scales[slot], padded, values + slot * padded);
  }
}

template <typename T>
void typed_pages(const AttentionCut& cut, int32_t head_dim, Pages<T>& pages) {
  pages.value_stride = head_dim;
  for (int32_t p = 0; p < kCutPages; ++p) {
    pages.k[p] = static_cast<const T*>(cut.k[p]);
    pages.v[p] = static_cast<const T*>(cut.v[p]);
  }
}

// So few rows that they are one tile: no other needs the pages, which come from memory. They are
// read once, K and then V, and kPagesAhead pages further on are asked for; behind the cut these are
// the first K of `next`.
template <typename T>
void attend_once(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                 const AttentionRow* rows, int32_t count, const Scratch& scratch) {
  const StagesOf<T>& stages = stages_of<T>(count);
  Tile tile = make_tile(scratch, rows, count);
  stages.rotate(shape, tile);
  const int32_t panels = tile.panels.last - tile.panels.first;
  const T* order[2 * kCutPages + kPagesAhead];  // in which the pages are read
  for (int32_t p = 0; p < panels; ++p) {
    order[p] = static_cast<const T*>(cut.k[tile.panels.first + p]);
    order[panels + p] = static_cast<const T*>(cut.v[tile.panels.first + p]);
  }
  for (int32_t p = 0; p < kPagesAhead; ++p) {
    const bool known = next != nullptr && next->k[p] != nullptr;
    order[2 * panels + p] = known ? static_cast<const T*>(next->k[p]) : order[2 * panels - 1];
  }
  stages.score(shape, tile, order, order + kPagesAhead);
  stages.maximum(shape, tile);
  stages.output_once(shape, tile, order + panels, order + panels + kPagesAhead);
  stages.end(tile);
}

// Parts of pages, K and V of the next cut, dealt out to the tiles of this one, and in a tile to the
// panels whose keys are multiplied meanwhile: all at once would hold up what the tile loads.
class Ahead {
 public:
  Ahead(const AttentionCut& cut, const AttentionCut* next, int32_t tiles)
      : panels_(pages_of(cut)),
        next_(next),
        next_pages_(next == nullptr ? 0 : pages_of(*next)),
        tiles_(tiles) {}
  // Of tile `tile`: what to ask for beside each of its panels, or null.
  template <typename T>
  void deal(int32_t tile, const T* (&parts)[kCutPages]) const {
    std::fill_n(parts, kCutPages, nullptr);
    const int32_t begin = 2 * next_pages_ * tile / tiles_;
    const int32_t count = 2 * next_pages_ * (tile + 1) / tiles_ - begin;
    for (int32_t i = 0; i < count && i < panels_; ++i) {
      const int32_t part = begin + i;
      const void* from = part < next_pages_ ? next_->k[part] : next_->v[part - next_pages_];
      parts[count < panels_ ? i * panels_ / count : i] = static_cast<const T*>(from);
    }
  }

 private:
  static int32_t pages_of(const AttentionCut& cut) {
    const auto* end = std::find(cut.k, cut.k + kCutPages, nullptr);
    return static_cast<int32_t>(end - cut.k);
  }

  int32_t panels_;
  const AttentionCut* next_;
  int32_t next_pages_;
  int32_t tiles_;
};

// Tile by tile; the pages stay in the caches.
template <typename T>
void attend_tiles(const AttentionShape& shape, const AttentionCut& cut, const Pages<T>& pages,
                  const AttentionCut* next, const AttentionRow* rows, int32_t count,
                  const Scratch& scratch) {
  const int32_t tiles = (count + kMaxTileRows - 1) / kMaxTileRows;
  const Ahead ahead(cut, next, tiles);
  Tile tile = make_tile(scratch, rows, count);
  for (int32_t i = 0; i < tiles; ++i) {
    const int32_t first = i * kMaxTileRows;
    const StagesOf<T>& stages = stages_of<T>(std::min(kMaxTileRows, count - first));
    tile.rows = rows + first;
    stages.rotate(shape, tile);
    const T* const* k = pages.k + tile.panels.first;
    const T* parts[kCutPages];
    ahead.deal(i, parts);
    // What is being read anyway is in the first cache level: asking for it costs nothing.
    for (int32_t p = 0; p < tile.panels.last - tile.panels.first; ++p) {
      if (parts[p] == nullptr) parts[p] = k[p];
    }
    stages.score(shape, tile, k, parts);
    stages.maximum(shape, tile);
    stages.output(shape, tile, pages.v + tile.panels.first, pages.value_stride);
    stages.end(tile);
  }
}

// Made float32 once for all rows, which takes longer than the pages take from memory: nothing is
// asked for ahead.
void attend_int8(const AttentionShape& shape, const AttentionCut& cut, const AttentionRow* rows,
                 int32_t count, const Scratch& scratch) {
  const KeyRange keys = keys_of(rows, count);
  Pages<float> wide;
  widen_cut(cut, keys, shape.head_dim, scratch, wide);
  attend_tiles(shape, cut, wide, nullptr, rows, count, scratch);
}

template <typename T>
void attend_typed(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                  const AttentionRow* rows, int32_t count, const Scratch& scratch) {
  if (count <= kMaxTileRows) {
    attend_once<T>(shape, cut, next, rows, count, scratch);
  } else {
    Pages<T> pages;
    typed_pages(cut, shape.head_dim, pages);
    attend_tiles(shape, cut, pages, next, rows, count, scratch);
  }
}

// Folds up to 16 later partials (outputs, maximum, sum) into states.
void fold_rows(int32_t head_dim, float* const* states, const float* outputs, int32_t output_stride,
               const float* maxima, const float* sums, int32_t count) {
  Join join;
  join.begin(head_dim, states, maxima, count);
  for (int32_t r = 0; r < count; ++r) {
    for (int32_t i = 0; i < padded_head_dim(head_dim); i += kLanes)
      join.outputs(F32(), r, i, hn::LoadU(F32(), outputs + r * output_stride + i));
  }
  join.end(sums);
}

}  // namespace

int32_t attend_tile_rows() { return kMaxTileRows; }

int64_t attend_scratch_size(const AttentionShape& shape) { return scratch_size(shape); }

void attend(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
            const AttentionRow* rows, int32_t count, float* scratch) {
  const Scratch parts = split_scratch(scratch, shape.head_dim);
  if (cut.dtype == DType::kBF16) {
    attend_typed<uint16_t>(shape, cut, next, rows, count, parts);
  } else if (cut.dtype == DType::kI8) {
    attend_int8(shape, cut, rows, count, parts);
  } else {
    attend_typed<float>(shape, cut, next, rows, count, parts);
  }
}

#if HWY_TARGET == HWY_AVX3
void attend_bf16_dots(const AttentionShape& shape, const AttentionCut& cut,
                      const AttentionCut* next, const AttentionRow* rows, int32_t count,
                      float* scratch) {
  if (cut.dtype == DType::kBF16) {
    attend_typed<Bf16Dots>(shape, cut, next, rows, count, split_scratch(scratch, shape.head_dim));
  } else {
    attend(shape, cut, next, rows, count, scratch);
  }
}
#endif

void fold(int32_t head_dim, const float* partials, int32_t count, float* states) {
  const int32_t size = state_size(head_dim);
  const int32_t padded = padded_head_dim(head_dim);
  for (int32_t begin = 0; begin < count; begin += 16) {
    const int32_t rows = count - begin < 16 ? count - begin : 16;
    float* at[16];
    HWY_ALIGN float maxima[16] = {};
    HWY_ALIGN float sums[16] = {};
    const float* from = partials + int64_t{begin} * size;
    for (int32_t r = 0; r < rows; ++r) {
      at[r] = states + int64_t{begin + r} * size;
      maxima[r] = from[r * size + padded];
      sums[r] = from[r * size + padded + 1];
    }
    fold_rows(head_dim, at, from, size, maxima, sums, rows);
  }
}

void finish(int32_t head_dim, const float* states, int32_t count, float* out) {
  const F32 d;
  for (int32_t r = 0; r < count; ++r) {
    const float* state = states + int64_t{r} * state_size(head_dim);
    const float sum = state[padded_head_dim(head_dim) + 1];
    int32_t i = 0;
    if (sum == 0) {
      for (; i < head_dim; ++i) out[i] = 0;
    }
    for (; i + kLanes <= head_dim; i += kLanes) {
      hn::StoreU(hn::Div(hn::LoadU(d, state + i), hn::Set(d, sum)), d, out + i);
    }
    for (; i < head_dim; ++i) out[i] = state[i] / sum;
    out += head_dim;
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

#if defined(__x86_64__)
namespace {

// Pages of other types are multiplied as without tiles.
void attend_by_tiles(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                     const AttentionRow* rows, int32_t count, float* scratch) {
  (cut.dtype == DType::kBF16 ? &amx_attend : &N_AVX3::attend)(shape, cut, next, rows, count,
                                                              scratch);
}

int64_t scratch_size_by_tiles(const AttentionShape& shape) {
  return std::max(amx_attention_scratch_size(shape), N_AVX3::attend_scratch_size(shape));
}

}  // namespace
#endif

AttentionKernels attention_kernels(Isa isa, int32_t head_dim) {
  AttentionKernels kernels = {
      BLOCK_ATTENTION_KERNEL(isa, attend_tile_rows)(),
      BLOCK_ATTENTION_KERNEL(isa, attend_scratch_size), BLOCK_ATTENTION_KERNEL(isa, attend),
      BLOCK_ATTENTION_KERNEL(isa, fold), BLOCK_ATTENTION_KERNEL(isa, finish)};
#if defined(__x86_64__)
  if (isa == Isa::kAmxBf16 && amx_takes_head(head_dim)) {
    kernels.tile_rows = kAmxAttentionRows;
    kernels.scratch_size = &scratch_size_by_tiles;
    kernels.attend = &attend_by_tiles;
  } else if (has_bf16_dots(isa)) {
    kernels.attend = &N_AVX3::attend_bf16_dots;
  }
#else
  static_cast<void>(head_dim);
#endif
  return kernels;
}

}  // namespace block_attention
#endif