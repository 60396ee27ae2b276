// The stages of a tile of attention: up to kMaxTileRows rows against one cut (compiled once per
// Highway target). Every sum has one order, whatever the tile shape and the vector width: scores
// are summed over dims 0, 1, 2 ... with keys in lanes, outputs over keys 0, 1, 2 ... with dims in
// lanes, weights in 16 lanes (key j in lane j % 16). Keys that a row does not see have weight 0 and
// add exact zeros, if their values are finite. Bf16Dots: the query, rotated and scaled, and the
// weights are rounded to bf16; the sum of a row's weights is that of the unrounded ones.
#if defined(BLOCK_ATTENTION_CPU_ATTENTION_STAGES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_ATTENTION_STAGES_INL
#undef BLOCK_ATTENTION_CPU_ATTENTION_STAGES_INL
#else
#define BLOCK_ATTENTION_CPU_ATTENTION_STAGES_INL
#endif

#include <algorithm>
#include <cstdint>

#include "cpu/attention_softmax-inl.hpp"
#include "cpu/rotate-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// A tile on its way through the stages.
struct Tile {
  const AttentionRow* rows;
  bool alike;       // whether all rows see the same keys
  KeyRange keys;    // that some row sees
  KeyRange panels;  // in which they lie
  float* query;     // [rows][kQueryStride], rotated and scaled
  float* scores;    // [rows][kScoreStride], then the weights
  float* outputs;   // [rows][kOutputStride]
  HWY_ALIGN float maxima[16];
  HWY_ALIGN float totals[kMaxTileRows * kPanel];

  Join join;

  Softmax softmax() { return {scores, maxima, totals}; }
};

HWY_INLINE bool see_alike(const AttentionRow* rows, int32_t count) {
  return std::all_of(rows, rows + count, [&](const AttentionRow& row) {
    return row.first == rows->first && row.last == rows->last;
  });
}

// The keys that some row sees.
HWY_INLINE KeyRange keys_of(const AttentionRow* rows, int32_t count) {
  KeyRange keys = {rows->first, rows->last};
  for (int32_t r = 1; r < count; ++r) {
    keys.first = std::min(keys.first, rows[r].first);
    keys.last = std::max(keys.last, rows[r].last);
  }
  return keys;
}

// The query of a row, rotated and scaled, as the products with keys of T want it.
template <typename T>
HWY_INLINE void load_query(const AttentionShape& shape, const AttentionRow& row, float* query) {
  rotate_head(row.q, row.rope, shape.rotary_half, shape.head_dim, shape.scale, query);
}

template <int32_t kRows, typename T>
HWY_INLINE void load_queries(const AttentionShape& shape, const AttentionRow* rows, float* query) {
#if HWY_TARGET == HWY_AVX3
  const int32_t half = shape.rotary_half;
  if (kStep<T> == 2 && 2 * half == shape.head_dim && half % (2 * kLanes) == 0) {
    const F32 d;
    const V scale = hn::Set(d, shape.scale);
    for (int32_t r = 0; r < kRows; ++r) {
      const float* q = rows[r].q;
      const float* rope = rows[r].rope;
      char* rounded = reinterpret_cast<char*>(query + r * kQueryStride);
      for (int32_t i = 0; i < half; i += 2 * kLanes) {
        V x[2][2];
        for (int32_t j = 0; j < 2; ++j) {
          const int32_t dim = i + j * kLanes;
          x[0][j] = hn::LoadU(d, q + dim);
          x[1][j] = hn::LoadU(d, q + half + dim);
          rotate_pairs(x[0][j], x[1][j], hn::LoadU(d, rope + dim), hn::LoadU(d, rope + half + dim),
                       scale);
        }
        round_two_to_bf16(x[0][0], x[0][1], rounded + 2 * i);
        round_two_to_bf16(x[1][0], x[1][1], rounded + 2 * (half + i));
      }
    }
    return;
  }
#endif
  for (int32_t r = 0; r < kRows; ++r) load_query<T>(shape, rows[r], query + r * kQueryStride);
}

#if HWY_TARGET == HWY_AVX3
template <>
HWY_INLINE void load_query<Bf16Dots>(const AttentionShape& shape, const AttentionRow& row,
                                     float* query) {
  rotate_head(row.q, row.rope, shape.rotary_half, shape.head_dim, shape.scale, query);
  // In place; the row of the scratch goes on behind head_dim.
  for (int32_t i = 0; i < shape.head_dim; i += kLanes)
    round_to_bf16(hn::Load(F32(), query + i), reinterpret_cast<char*>(query) + 2 * i);
}
#endif

// The stages in which a tile of kRows rows differs from others. All tiles go through all of them,
// in this order.
template <int32_t kRows, typename T>
struct Stages {
  static HWY_NOINLINE void rotate(const AttentionShape& shape, Tile& tile) {
    tile.keys = keys_of(tile.rows, tile.alike ? 1 : kRows);
    load_queries<kRows, T>(shape, tile.rows, tile.query);
    tile.panels = {tile.keys.first / kPanel, (tile.keys.last + kPanel - 1) / kPanel};
  }

  // `panels`: the K of the tile's pages; the parts of pages at `ahead`, one for each of them, are
  // asked for meanwhile.
  static HWY_NOINLINE void score(const AttentionShape& shape, Tile& tile, const T* const* panels,
                                 const T* const* ahead) {
    const T* keys[kCutPages * kPanelVectors];
    const T* next[kCutPages * kPanelVectors];
    int32_t vectors = 0;
    for (int32_t p = 0; p < tile.panels.last - tile.panels.first; ++p) {
      for (int32_t j = 0; j < kPanelVectors; ++j) {
        next[vectors] = ahead[p];
        keys[vectors++] = panels[p] + j * kLanes * kPair<T>;
      }
    }
    score_vectors<kRows, tile_vectors(kRows), T>(tile.query, keys, next, vectors, shape.head_dim,
                                                 tile.scores + tile.panels.first * kPanel);
  }

  static HWY_NOINLINE void maximum(const AttentionShape& shape, Tile& tile) {
    if (tile.alike) {
      hide_unseen<kRows>(tile.scores, tile.panels, tile.keys.first, tile.keys.last);
    } else {
      for (int32_t r = 0; r < kRows; ++r) {
        hide_unseen<1>(tile.scores + r * kScoreStride, tile.panels, tile.rows[r].first,
                       tile.rows[r].last);
      }
    }
    find_maxima<kRows>(tile.softmax(), tile.panels);
    float* states[kRows];
    for (int32_t r = 0; r < kRows; ++r) states[r] = tile.rows[r].state;
    tile.join.begin(shape.head_dim, states, tile.maxima, kRows);
  }

  // Weights and outputs; `pages`: the V of the tile's pages, of which slots lie `stride` apart.
  static HWY_NOINLINE void output(const AttentionShape& shape, Tile& tile, const T* const* pages,
                                  int32_t stride) {
    constexpr int32_t kVectors = tile_vectors(kRows);
    const int32_t first = tile.keys.first / kPair<T> * kPair<T>;
    const PagedValues<T> values = {pages, stride, first % kPanel, tile.keys.last - first};
    int32_t vectors = padded_head_dim(shape.head_dim) / kLanes;
    int32_t dim = 0;
    if (kBeside && vectors >= kVectors) {
      weigh_and_output_tile<kRows, kVectors, T>(tile.softmax(), values, tile.panels.first,
                                                tile.join);
      vectors -= kVectors;
      dim += kVectors * kLanes;
    } else {
      weigh_panels<kRows, T>(tile.softmax(), tile.panels);
    }
    paged_output_vectors<kRows, kVectors, T>(tile.scores + first / kStep<T>, values, dim, vectors,
                                             tile.join);
  }

  // The same page by page: a page comes from memory once, in the order in which it lies there.
  static HWY_NOINLINE void output_once(const AttentionShape& shape, Tile& tile,
                                       const T* const* pages, const T* const* ahead) {
    weigh_panels<kRows, T>(tile.softmax(), tile.panels);
    const int32_t vectors = padded_head_dim(shape.head_dim) / kLanes;
    int32_t page = 0;
    for (int32_t key = tile.keys.first / kPair<T> * kPair<T>; key < tile.keys.last; ++page) {
      const int32_t slot = key % kPanel;
      const int32_t left = tile.keys.last - key;
      const int32_t keys = left < kPanel - slot ? left : kPanel - slot;
      output_vectors<kRows, tile_vectors(kRows), true, T>(
          tile.scores + key / kStep<T>, pages[page] + slot * shape.head_dim,
          ahead[page] + slot * shape.head_dim, vectors, shape.head_dim, keys, page == 0,
          tile.outputs);
      key += keys;
    }
    for (int32_t r = 0; r < kRows; ++r) {
      for (int32_t i = 0; i < vectors * kLanes; i += kLanes)
        tile.join.outputs(F32(), r, i, hn::Load(F32(), tile.outputs + r * kOutputStride + i));
    }
  }

  static HWY_NOINLINE void end(Tile& tile) {
    HWY_ALIGN float sums[16];
    combine_lanes(
        tile.totals, kRows, [](V4 a, V4 b) HWY_ATTR { return hn::Add(a, b); }, sums);
    tile.join.end(sums);
  }
};

// The same, for a number of rows that is not known before.
template <typename T>
struct StagesOf {
  void (*rotate)(const AttentionShape&, Tile&);
  void (*score)(const AttentionShape&, Tile&, const T* const*, const T* const*);
  void (*maximum)(const AttentionShape&, Tile&);
  void (*output)(const AttentionShape&, Tile&, const T* const*, int32_t);
  void (*output_once)(const AttentionShape&, Tile&, const T* const*, const T* const*);
  void (*end)(Tile&);
};

template <int32_t kRows, typename T>
constexpr StagesOf<T> kStages = {Stages<kRows, T>::rotate,      Stages<kRows, T>::score,
                                 Stages<kRows, T>::maximum,     Stages<kRows, T>::output,
                                 Stages<kRows, T>::output_once, Stages<kRows, T>::end};

// Of tiles of `rows` rows, 1 to kMaxTileRows.
template <typename T, int32_t kRows = kMaxTileRows>
HWY_INLINE const StagesOf<T>& stages_of(int32_t rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return stages_of<T, kRows - 1>(rows);
  }
  return kStages<kRows, T>;
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
