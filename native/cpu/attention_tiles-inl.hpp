// The register tiles of attention: small products of packed rows with keys, and of weights with
// values (compiled once per Highway target). Scores are summed over dims 0, 1, 2 ... with keys in
// lanes, outputs over keys 0, 1, 2 ... with dims in lanes, whatever the tile shape. Of Bf16Dots
// pages a step of a sum is a pair of dims, or of keys, that are multiplied as bfloat16
// (bf16_pairs-inl.hpp).
#if defined(BLOCK_ATTENTION_CPU_ATTENTION_TILES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_ATTENTION_TILES_INL
#undef BLOCK_ATTENTION_CPU_ATTENTION_TILES_INL
#else
#define BLOCK_ATTENTION_CPU_ATTENTION_TILES_INL
#endif

#include <cstdint>

#include "cpu/attention_join-inl.hpp"
#include "cpu/attention_kernels.hpp"
#include "cpu/bf16_pairs-inl.hpp"
#include "cpu/kv_pairs-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::CappedTag<float, 16>;
using V = hn::Vec<F32>;

// Vectors per 16 floats, and the tallest register tile: with two vectors across, 12 rows fill the
// 32 registers of AVX-512; 6 rows fill the 16 of AVX2.
constexpr int32_t kLanes = static_cast<int32_t>(hn::MaxLanes(F32()));
constexpr int32_t kPanelVectors = kPanel / kLanes;
constexpr int32_t kMaxTileRows = HWY_TARGET == HWY_AVX3 ? 12 : 6;
// Vectors across a tile of `rows` rows: a power of two that keeps about 8 sums in flight and all of
// them in registers.
constexpr int32_t tile_vectors(int32_t rows) {
  if (HWY_TARGET == HWY_AVX3) return rows <= 6 ? 4 : 2;
  return rows <= 3 && kPanelVectors == 2 ? 4 : kPanelVectors;
}

// Row strides of the scratch arrays: constants, and no multiple of 4 KB, so that the rows of a tile
// lie in different sets of the L1 cache.
constexpr int32_t kQueryStride = kMaxHeadDim + 16;
constexpr int32_t kScoreStride = kCutKeys + 16;
constexpr int32_t kOutputStride = kMaxHeadDim + 16;

// Dims, or keys, of one step of a sum.
template <typename T>
inline constexpr int32_t kStep = 1;
// Steps over elements that lie side by side in a page.
template <typename T>
inline constexpr int32_t kParts = kPair<T> / kStep<T>;

template <typename T>
HWY_INLINE V multiply_add(V x, V page, V sum) {
  return hn::MulAdd(x, page, sum);
}
// What the step number `part` multiplies of the elements that lie side by side at `from`.
template <typename T>
HWY_INLINE V load_step(const T* from, int32_t part) {
  return load_part(F32(), from, part);
}

// A last key that has none beside it: what lies there may be anything.
template <typename T>
HWY_INLINE V load_last_key(const T* from) {
  return load_step(from, 0);
}

#if HWY_TARGET == HWY_AVX3
// An element of bf16 pages that are multiplied in pairs.
struct Bf16Dots {
  uint16_t bits;
};
template <>
inline constexpr int32_t kStep<Bf16Dots> = 2;

template <>
HWY_INLINE V multiply_add<Bf16Dots>(V x, V page, V sum) {
  return multiply_add_pairs(x, page, sum);
}

template <>
HWY_INLINE V load_step(const Bf16Dots* from, int32_t) {
  return hn::LoadU(F32(), reinterpret_cast<const float*>(from));
}
template <>
HWY_INLINE V load_last_key(const Bf16Dots* from) {
  const hn::RebindToUnsigned<F32> bits;
  const auto pairs = hn::LoadU(bits, reinterpret_cast<const uint32_t*>(from));
  return hn::BitCast(F32(), hn::And(pairs, hn::Set(bits, 0xffffu)));
}
#endif

// scores[row][...] = query[row] . key for the kVectors vectors of keys at keys[0], keys[1], ...
// query: steps of each row. What is needed next lies at ahead[0], ... in the same shape.
template <int32_t kRows, int32_t kVectors, typename T>
HWY_INLINE void score_tile(const float* query, const T* const* keys, const T* const* ahead,
                           int32_t head_dim, float* scores) {
  const F32 d;
  V sums[kRows][kVectors];
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) sums[r][j] = hn::Zero(d);
  }
  const T* at[kVectors];
  const T* next[kVectors];
  for (int32_t j = 0; j < kVectors; ++j) {
    at[j] = keys[j];
    next[j] = ahead[j];
  }
  for (int32_t i = 0; i < head_dim / kStep<T>; i += kParts<T>) {
    const int32_t offset = i * kStep<T> * kPanel;
    for (int32_t part = 0; part < kParts<T>; ++part) {
      V k[kVectors];
      for (int32_t j = 0; j < kVectors; ++j) {
        k[j] = load_step(at[j] + offset, part);
        if (part == 0 && j % kPanelVectors == 0) __builtin_prefetch(next[j] + offset);
      }
      for (int32_t r = 0; r < kRows; ++r) {
        const V q = hn::Set(d, query[r * kQueryStride + i + part]);
        for (int32_t j = 0; j < kVectors; ++j) sums[r][j] = multiply_add<T>(q, k[j], sums[r][j]);
      }
    }
  }
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) {
      hn::Store(sums[r][j], d, scores + r * kScoreStride + j * kLanes);
    }
  }
}

template <int32_t kRows, int32_t kVectors, typename T>
HWY_INLINE void score_vectors(const float* query, const T* const* keys, const T* const* ahead,
                              int32_t vectors, int32_t head_dim, float* scores) {
  while (vectors >= kVectors) {
    score_tile<kRows, kVectors, T>(query, keys, ahead, head_dim, scores);
    keys += kVectors;
    ahead += kVectors;
    scores += kVectors * kLanes;
    vectors -= kVectors;
  }
  if constexpr (kVectors > kPanelVectors) {
    score_vectors<kRows, kVectors / 2, T>(query, keys, ahead, vectors, head_dim, scores);
  }
}

// sums += the products of the weights of `keys` keys, steps of each row, with their values, of
// which slots lie `stride` apart.
template <int32_t kRows, int32_t kVectors, bool kAhead, typename T>
HWY_INLINE void add_keys(const float* weights, const T* values, const T* ahead, int32_t stride,
                         int32_t keys, V (&sums)[kRows][kVectors]) {
  const F32 d;
  const auto add = [&](const float* weight, const V(&v)[kVectors]) HWY_ATTR {
    for (int32_t r = 0; r < kRows; ++r) {
      const V p = hn::Set(d, weight[r * kScoreStride]);
      for (int32_t j = 0; j < kVectors; ++j) sums[r][j] = multiply_add<T>(p, v[j], sums[r][j]);
    }
  };
  constexpr int32_t kVectorStride = kLanes * kPair<T>;
  V v[kVectors];
  for (int32_t key = 0; key + kPair<T> <= keys; key += kPair<T>) {
    for (int32_t part = 0; part < kParts<T>; ++part) {
      for (int32_t j = 0; j < kVectors; ++j) {
        v[j] = load_step(values + j * kVectorStride, part);
        if (kAhead && part == 0 && j % kPanelVectors == 0)
          __builtin_prefetch(ahead + j * kVectorStride);
      }
      add(weights++, v);
    }
    values += kPair<T> * stride;
    if (kAhead) ahead += kPair<T> * stride;
  }
  if (keys % kPair<T> != 0) {
    for (int32_t j = 0; j < kVectors; ++j) v[j] = load_last_key(values + j * kVectorStride);
    add(weights, v);
  }
}

// outputs[row] (+)= sum over the keys of weights[row][key] * values[key], for kVectors vectors of
// dims. What is needed next lies at `ahead` in the same shape.
template <int32_t kRows, int32_t kVectors, bool kAhead, typename T>
HWY_INLINE void output_tile(const float* weights, const T* values, const T* ahead, int32_t stride,
                            int32_t keys, bool first, float* outputs) {
  const F32 d;
  V sums[kRows][kVectors];
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) {
      sums[r][j] = first ? hn::Zero(d) : hn::Load(d, outputs + r * kOutputStride + j * kLanes);
    }
  }
  add_keys<kRows, kVectors, kAhead, T>(weights, values, ahead, stride, keys, sums);
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) {
      hn::Store(sums[r][j], d, outputs + r * kOutputStride + j * kLanes);
    }
  }
}

// The keys of a tile as they lie in pages: the first is in slot `slot` of pages[0], where a step
// begins.
template <typename T>
struct PagedValues {
  const T* const* pages;
  int32_t stride;  // between slots
  int32_t slot;
  int32_t keys;
};

// Joins, for each row, the sum over the keys of weights[row][key] * value, for kVectors vectors of
// dims from `dim` on.
template <int32_t kRows, int32_t kVectors, typename T>
HWY_INLINE void paged_output_tile(const float* weights, const PagedValues<T>& values, int32_t dim,
                                  const Join& join) {
  const F32 d;
  V sums[kRows][kVectors];
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) sums[r][j] = hn::Zero(d);
  }
  const T* const* page = values.pages;
  int32_t slot = values.slot;
  const int32_t stride = values.stride;
  for (int32_t left = values.keys; left > 0;) {
    const int32_t keys = left < kPanel - slot ? left : kPanel - slot;
    add_keys<kRows, kVectors, false, T>(weights, *page++ + slot * stride + dim * kPair<T>, nullptr,
                                        stride, keys, sums);
    weights += keys / kStep<T>;
    left -= keys;
    slot = 0;
  }
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) join.outputs(d, r, dim + j * kLanes, sums[r][j]);
  }
}

template <int32_t kRows, int32_t kVectors, typename T>
HWY_INLINE void paged_output_vectors(const float* weights, const PagedValues<T>& values,
                                     int32_t dim, int32_t vectors, const Join& join) {
  while (vectors >= kVectors) {
    paged_output_tile<kRows, kVectors, T>(weights, values, dim, join);
    dim += kVectors * kLanes;
    vectors -= kVectors;
  }
  if constexpr (kVectors > kPanelVectors) {
    paged_output_vectors<kRows, kVectors / 2, T>(weights, values, dim, vectors, join);
  }
}

template <int32_t kRows, int32_t kVectors, bool kAhead, typename T>
HWY_INLINE void output_vectors(const float* weights, const T* values, const T* ahead,
                               int32_t vectors, int32_t stride, int32_t keys, bool first,
                               float* outputs) {
  while (vectors >= kVectors) {
    output_tile<kRows, kVectors, kAhead, T>(weights, values, ahead, stride, keys, first, outputs);
    values += kVectors * kLanes * kPair<T>;
    if (kAhead) ahead += kVectors * kLanes * kPair<T>;
    outputs += kVectors * kLanes;
    vectors -= kVectors;
  }
  if constexpr (kVectors > kPanelVectors) {
    output_vectors<kRows, kVectors / 2, kAhead, T>(weights, values, ahead, vectors, stride, keys,
                                                   first, outputs);
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
