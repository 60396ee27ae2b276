#include "cpu/attention_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>

#include "cpu/attention_softmax-inl.hpp"
#include "cpu/kv_int8-inl.hpp"
#include "cpu/rotate-inl.hpp"

// Every sum has one order, whatever the tile shape and the vector width: scores are summed over
// dims 0, 1, 2 ... with keys in lanes, outputs over keys 0, 1, 2 ... with dims in lanes, weights in
// 16 lanes (key j in lane j % 16). Keys that a row does not see have weight 0 and add exact zeros.
// Bf16Dots: the query, rotated and scaled, and the weights are rounded to bf16; the sum of a row's
// weights is that of the unrounded ones.
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

// Scores of kRows rows against `count` panels; the parts of pages at `ahead`, one for each panel,
// are asked for meanwhile.
template <int32_t kRows, typename T>
HWY_NOINLINE void score_rows(const T* const* panels, const T* const* ahead, int32_t count,
                             int32_t head_dim, const float* query, float* scores) {
  const T* keys[kCutPages * kPanelVectors];
  const T* next[kCutPages * kPanelVectors];
  int32_t vectors = 0;
  for (int32_t p = 0; p < count; ++p) {
    for (int32_t j = 0; j < kPanelVectors; ++j) {
      next[vectors] = ahead[p];
      keys[vectors++] = panels[p] + j * kLanes * kPair<T>;
    }
  }
  score_vectors<kRows, tile_vectors(kRows), T>(query, keys, next, vectors, head_dim, scores);
}

// Weights of kRows rows over the keys of `range`, and outputs; pages[0] is that of key range.first.
template <int32_t kRows, typename T>
HWY_NOINLINE void output_rows(const T* const* pages, int32_t stride, KeyRange range,
                              int32_t head_dim, const Softmax& softmax, float* outputs) {
  constexpr int32_t kVectors = tile_vectors(kRows);
  const int32_t first = range.first / kPair<T> * kPair<T>;
  const PagedValues<T> values = {pages, stride, first % kPanel, range.last - first};
  int32_t vectors = padded_head_dim(head_dim) / kLanes;
  int32_t dim = 0;
  if (kBeside && vectors >= kVectors) {
    weigh_and_output_tile<kRows, kVectors, T>(softmax, values, first / kPanel, outputs);
    vectors -= kVectors;
    dim += kVectors * kLanes;
  } else {
    weigh_panels<kRows, T>(softmax, {first / kPanel, (range.last + kPanel - 1) / kPanel});
  }
  paged_output_vectors<kRows, kVectors, T>(softmax.scores + first / kStep<T>, values, dim, vectors,
                                           outputs);
}

// The same page by page: a page comes from memory once, in the order in which it lies there.
template <int32_t kRows, typename T>
HWY_NOINLINE void output_rows_once(const T* const* pages, const T* const* ahead, KeyRange range,
                                   int32_t head_dim, const Scratch& scratch) {
  const int32_t vectors = padded_head_dim(head_dim) / kLanes;
  int32_t page = 0;
  for (int32_t key = range.first / kPair<T> * kPair<T>; key < range.last; ++page) {
    const int32_t slot = key % kPanel;
    const int32_t keys = range.last - key < kPanel - slot ? range.last - key : kPanel - slot;
    output_vectors<kRows, tile_vectors(kRows), true, T>(
        scratch.scores + key / kStep<T>, pages[page] + slot * head_dim,
        ahead[page] + slot * head_dim, vectors, head_dim, keys, page == 0, scratch.outputs);
    key += keys;
  }
}

// Folds up to 16 later partials (outputs, maximum, sum) into states. Flash attention's merge (Dao
// et al. 2022, section 3.1): state = a * state + b * partial, with a and b the weights of the two
// maxima.
void fold_rows(int32_t head_dim, float* const* states, const float* outputs, int32_t output_stride,
               const float* maxima, const float* sums, int32_t count) {
  const F32 d;
  const int32_t padded = padded_head_dim(head_dim);
  HWY_ALIGN float old_max[16];
  HWY_ALIGN float old_sum[16];
  HWY_ALIGN float keep[16];
  HWY_ALIGN float add[16];
  HWY_ALIGN float new_max[16];
  HWY_ALIGN float new_sum[16];
  for (int32_t r = 0; r < 16; ++r) {
    old_max[r] = r < count ? states[r][padded] : 0;
    old_sum[r] = r < count ? states[r][padded + 1] : 0;
  }
  for (int32_t i = 0; i < count; i += kLanes) {
    const V before = hn::Load(d, old_max + i);
    const V later = hn::Load(d, maxima + i);
    const V max = hn::Max(before, later);
    const V a = exp2_nonpositive(d, hn::Sub(before, max));
    const V b = exp2_nonpositive(d, hn::Sub(later, max));
    hn::Store(a, d, keep + i);
    hn::Store(b, d, add + i);
    hn::Store(max, d, new_max + i);
    hn::Store(hn::MulAdd(hn::Load(d, sums + i), b, hn::Mul(hn::Load(d, old_sum + i), a)), d,
              new_sum + i);
  }
  for (int32_t r = 0; r < count; ++r) {
    float* state = states[r];
    const float* output = outputs + r * output_stride;
    if (old_sum[r] == 0) {
      for (int32_t i = 0; i < padded; i += kLanes)
        hn::StoreU(hn::LoadU(d, output + i), d, state + i);
    } else {
      const V a = hn::Set(d, keep[r]);
      const V b = hn::Set(d, add[r]);
      for (int32_t i = 0; i < padded; i += kLanes) {
        hn::StoreU(hn::MulAdd(hn::LoadU(d, output + i), b, hn::Mul(hn::LoadU(d, state + i), a)), d,
                   state + i);
      }
    }
    state[padded] = new_max[r];
    state[padded + 1] = new_sum[r];
  }
}

// The pages of a cut as one type, or what they were widened to.
template <typename T>
struct Pages {
  const T* k[kCutPages];
  const T* v[kCutPages];
  int32_t value_stride;  // between slots of v
};

// The query, rotated and scaled, as the products with keys of T want it.
template <typename T>
HWY_INLINE void load_query(const AttentionShape& shape, const AttentionRow& row, float* query) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kStep<T> == 2) {
    char* pairs = reinterpret_cast<char*>(query);
    if (2 * shape.rotary_half == shape.head_dim && shape.rotary_half % kLanes == 0) {
      rotate_vectors(row.q, row.rope, shape.rotary_half, shape.scale,
                     [&](V vector, int32_t dim)
                         HWY_ATTR { round_to_bf16(vector, pairs + 2 * dim); });
      return;
    }
    rotate_head(row.q, row.rope, shape.rotary_half, shape.head_dim, shape.scale, query);
    // In place; the row of the scratch goes on behind head_dim.
    for (int32_t i = 0; i < shape.head_dim; i += kLanes)
      round_to_bf16(hn::Load(F32(), query + i), pairs + 2 * i);
    return;
  }
#endif
  rotate_head(row.q, row.rope, shape.rotary_half, shape.head_dim, shape.scale, query);
}

// One tile of rows against the cut. kOnce: no other tile needs the pages, which come from memory;
// `ahead` are the K of the kPagesAhead pages that this worker reads next, or null. Else the pages
// stay in the cache, and `ahead` are parts of pages to ask for while the keys of a panel are
// multiplied, or null.
template <int32_t kRows, bool kOnce, typename T>
HWY_NOINLINE void attend_tile(const AttentionShape& shape, const Pages<T>& pages,
                              const T* const* ahead, const AttentionRow* rows,
                              const Scratch& scratch) {
  KeyRange keys = {kCutKeys, 0};
  float* states[kRows];
  for (int32_t r = 0; r < kRows; ++r) {
    if (rows[r].first < keys.first) keys.first = rows[r].first;
    if (rows[r].last > keys.last) keys.last = rows[r].last;
    states[r] = rows[r].state;
    load_query<T>(shape, rows[r], scratch.query + r * kQueryStride);
  }
  const KeyRange panels = {keys.first / kPanel, (keys.last + kPanel - 1) / kPanel};
  const int32_t count = panels.last - panels.first;
  float* scores = scratch.scores + panels.first * kPanel;
  const T* order[2 * kCutPages + kPagesAhead];  // in which the pages are read
  if constexpr (kOnce) {
    for (int32_t p = 0; p < count; ++p) {
      order[p] = pages.k[panels.first + p];
      order[count + p] = pages.v[panels.first + p];
    }
    for (int32_t p = 0; p < kPagesAhead; ++p) {
      order[2 * count + p] = ahead[p] == nullptr ? order[2 * count - 1] : ahead[p];
    }
    score_rows<kRows, T>(order, order + kPagesAhead, count, shape.head_dim, scratch.query, scores);
  } else {
    const T* const* k = pages.k + panels.first;
    // What is being read anyway is in the first cache level: asking for it costs nothing.
    for (int32_t p = 0; p < count; ++p) order[p] = ahead[p] == nullptr ? k[p] : ahead[p];
    score_rows<kRows, T>(k, order, count, shape.head_dim, scratch.query, scores);
  }

  HWY_ALIGN float maxima[16] = {};
  HWY_ALIGN float totals[kRows * kPanel] = {};
  const Softmax softmax = {scratch.scores, maxima, totals};
  for (int32_t r = 0; r < kRows; ++r)
    hide_unseen(scratch.scores + r * kScoreStride, panels, rows[r].first, rows[r].last);
  find_maxima<kRows>(softmax, panels);
  if constexpr (kOnce) {
    weigh_panels<kRows, T>(softmax, panels);
    output_rows_once<kRows, T>(order + count, order + count + kPagesAhead, keys, shape.head_dim,
                               scratch);
  } else {
    output_rows<kRows, T>(pages.v + panels.first, pages.value_stride, keys, shape.head_dim, softmax,
                          scratch.outputs);
  }
  HWY_ALIGN float sums[16] = {};
  for (int32_t r = 0; r < kRows; ++r) sums[r] = sum_lanes(totals + r * kPanel);
  fold_rows(shape.head_dim, states, scratch.outputs, kOutputStride, maxima, sums, kRows);
}

template <int32_t kRows, bool kOnce, typename T>
HWY_INLINE void attend_up_to(const AttentionShape& shape, const Pages<T>& pages,
                             const T* const* ahead, const AttentionRow* rows, int32_t count,
                             const Scratch& scratch) {
  if (count == kRows) {
    attend_tile<kRows, kOnce, T>(shape, pages, ahead, rows, scratch);
  } else if constexpr (kRows > 1) {
    attend_up_to<kRows - 1, kOnce, T>(shape, pages, ahead, rows, count, scratch);
  }
}

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

// So few rows that they are one tile: pages go by once.
template <typename T>
void attend_once(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                 const AttentionRow* rows, int32_t count, const Scratch& scratch) {
  Pages<T> pages;
  typed_pages(cut, shape.head_dim, pages);
  const T* next_k[kPagesAhead];
  for (int32_t p = 0; p < kPagesAhead; ++p)
    next_k[p] = next == nullptr ? nullptr : static_cast<const T*>(next->k[p]);
  attend_up_to<kMaxTileRows, true, T>(shape, pages, next_k, rows, count, scratch);
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

// Tile by tile.
template <typename T>
void attend_tiles(const AttentionShape& shape, const AttentionCut& cut, const Pages<T>& pages,
                  const AttentionCut* next, const AttentionRow* rows, int32_t count,
                  const Scratch& scratch) {
  const Ahead ahead(cut, next, (count + kMaxTileRows - 1) / kMaxTileRows);
  for (int32_t r = 0; r < count; r += kMaxTileRows) {
    const T* parts[kCutPages];
    ahead.deal(r / kMaxTileRows, parts);
    const int32_t end = std::min(r + kMaxTileRows, count);
    attend_up_to<kMaxTileRows, false, T>(shape, pages, parts, rows + r, end - r, scratch);
  }
}

// Asks for the pages of a cut, into the second cache level.
void ask_for(const AttentionCut& cut, int32_t head_dim) {
  const int32_t bytes = kPanel * head_dim * static_cast<int32_t>(dtype_size(cut.dtype));
  for (int32_t p = 0; p < kCutPages && cut.k[p] != nullptr; ++p) {
    for (int32_t i = 0; i < bytes; i += 64) {
      __builtin_prefetch(static_cast<const char*>(cut.k[p]) + i, 0, 2);
      __builtin_prefetch(static_cast<const char*>(cut.v[p]) + i, 0, 2);
    }
  }
}

void attend_int8(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                 const AttentionRow* rows, int32_t count, const Scratch& scratch) {
  KeyRange keys = {kCutKeys, 0};
  for (int32_t r = 0; r < count; ++r) {
    if (rows[r].first < keys.first) keys.first = rows[r].first;
    if (rows[r].last > keys.last) keys.last = rows[r].last;
  }
  Pages<float> wide;
  widen_cut(cut, keys, shape.head_dim, scratch, wide);
  if (next != nullptr) ask_for(*next, shape.head_dim);
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

}  // namespace

int64_t attend_scratch_size(const AttentionShape& shape) { return scratch_size(shape); }

void attend(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
            const AttentionRow* rows, int32_t count, float* scratch) {
  const Scratch parts = split_scratch(scratch, shape.head_dim);
  if (cut.dtype == DType::kBF16) {
    attend_typed<uint16_t>(shape, cut, next, rows, count, parts);
  } else if (cut.dtype == DType::kI8) {
    attend_int8(shape, cut, next, rows, count, parts);
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

AttentionKernels attention_kernels(Isa isa) {
  AttentionKernels kernels = {
      BLOCK_ATTENTION_KERNEL(isa, attend_scratch_size), BLOCK_ATTENTION_KERNEL(isa, attend),
      BLOCK_ATTENTION_KERNEL(isa, fold), BLOCK_ATTENTION_KERNEL(isa, finish)};
#if defined(__x86_64__)
  if (has_bf16_dots(isa)) kernels.attend = &N_AVX3::attend_bf16_dots;
#endif
  return kernels;
}

}  // namespace block_attention
#endif
