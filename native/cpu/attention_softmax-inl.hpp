// The softmax of attention: from scores to weights, and the products that are made beside them
// (compiled once per Highway target).
#if defined(BLOCK_ATTENTION_CPU_ATTENTION_SOFTMAX_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_ATTENTION_SOFTMAX_INL
#undef BLOCK_ATTENTION_CPU_ATTENTION_SOFTMAX_INL
#else
#define BLOCK_ATTENTION_CPU_ATTENTION_SOFTMAX_INL
#endif

#include <cmath>
#include <cstdint>

#include "cpu/attention_tiles-inl.hpp"
#include "cpu/exp2-inl.hpp"
#include "cpu/four_rows-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

struct KeyRange {
  int32_t first;
  int32_t last;
};

// Scores of kRows rows over `panels` for keys outside [first, last) become -inf.
template <int32_t kRows>
HWY_INLINE void hide_unseen(float* scores, KeyRange panels, int32_t first, int32_t last) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const auto hide = [&](int32_t begin, int32_t end) HWY_ATTR {
    for (int32_t i = begin; i < end; i += kLanes) {
      const auto key = hn::Add(hn::Iota(di, 0), hn::Set(di, i));
      const auto seen = hn::RebindMask(
          d, hn::AndNot(hn::Lt(key, hn::Set(di, first)), hn::Lt(key, hn::Set(di, last))));
      for (int32_t r = 0; r < kRows; ++r) {
        float* at = scores + r * kScoreStride + i;
        hn::Store(hn::IfThenElse(seen, hn::Load(d, at), hn::Set(d, -HUGE_VALF)), d, at);
      }
    }
  };
  hide(panels.first * kPanel, (first + kPanel - 1) / kPanel * kPanel);
  hide(last / kPanel * kPanel, panels.last * kPanel);
}

// 2^x as the products with values of T want it.
template <typename T>
HWY_INLINE V weights_of(V x) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kStep<T> == 2) return exp2_for_bf16(F32(), x);
#endif
  return exp2_nonpositive(F32(), x);
}

// Stored from key `key` of the row on. Rounded ones take half the place, so the scores of later
// keys are not overwritten.
template <typename T>
HWY_INLINE void store_weights(V weights, float* row, int32_t key) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (kStep<T> == 2)
    return round_to_bf16(weights, reinterpret_cast<char*>(row) + 2 * key);
#endif
  hn::Store(weights, F32(), row + key);
}

// The softmax of a tile's rows over the panels of a cut. Rows go side by side, so that no
// instruction waits for the one before it.
struct Softmax {
  float* scores;  // [rows][kScoreStride]; those of keys that a row does not see are -inf
  float* maxima;  // [16], in fours
  float* totals;  // [rows][16]: the weights so far, key j in lane j % 16
};

// `totals` is room for them meanwhile, and zero afterwards.
template <int32_t kRows>
HWY_INLINE void find_maxima(const Softmax& softmax, KeyRange panels) {
  const F32 d;
  V most[kRows];
  for (int32_t r = 0; r < kRows; ++r) most[r] = hn::Set(d, -HUGE_VALF);
  for (int32_t i = panels.first * kPanel; i < panels.last * kPanel; i += kLanes) {
    for (int32_t r = 0; r < kRows; ++r)
      most[r] = hn::Max(most[r], hn::Load(d, softmax.scores + r * kScoreStride + i));
  }
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kPanel; j += kLanes)
      hn::Store(most[r], d, softmax.totals + r * kPanel + j);
  }
  combine_lanes(
      softmax.totals, kRows, [](V4 a, V4 b) HWY_ATTR { return hn::Max(a, b); }, softmax.maxima);
  for (int32_t i = 0; i < kRows * kPanel; i += kLanes)
    hn::Store(hn::Zero(d), d, softmax.totals + i);
}

// Turns a row's scores of one panel into weights 2^(score - maximum).
template <typename T>
HWY_INLINE void weigh(const Softmax& softmax, int32_t row, int32_t panel) {
  const F32 d;
  float* scores = softmax.scores + row * kScoreStride;
  float* totals = softmax.totals + row * kPanel;
  for (int32_t j = 0; j < kPanel; j += kLanes) {
    const int32_t key = panel * kPanel + j;
    const V maximum = hn::Set(d, softmax.maxima[row]);
    const V weights = weights_of<T>(hn::Sub(hn::Load(d, scores + key), maximum));
    hn::Store(hn::Add(hn::Load(d, totals + j), weights), d, totals + j);
    store_weights<T>(weights, scores, key);
  }
}

template <int32_t kRows, typename T>
HWY_INLINE void weigh_rows(const Softmax& softmax, int32_t panel) {
  for (int32_t r = 0; r < kRows; ++r) weigh<T>(softmax, r, panel);
}

template <int32_t kRows, typename T>
HWY_INLINE void weigh_panels(const Softmax& softmax, KeyRange panels) {
  for (int32_t p = panels.first; p < panels.last; ++p) weigh_rows<kRows, T>(softmax, p);
}

// Whether weights are made beside products: that takes more registers than AVX2 has.
constexpr bool kBeside = HWY_TARGET == HWY_AVX3;

// paged_output_tile from dim 0 on, which makes the weights, too: those of the next panel while the
// values of one are multiplied, which leaves the units that add, and half of the others, idle.
template <int32_t kRows, int32_t kVectors, typename T>
HWY_INLINE void weigh_and_output_tile(const Softmax& softmax, const PagedValues<T>& values,
                                      int32_t panel, const Join& join) {
  const F32 d;
  constexpr int32_t kPairs = kPanel / kPair<T>;
  V sums[kRows][kVectors];
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) sums[r][j] = hn::Zero(d);
  }
  weigh_rows<kRows, T>(softmax, panel);
  const T* const* page = values.pages;
  int32_t slot = values.slot;
  for (int32_t left = values.keys; left > 0;) {
    const float* weights = softmax.scores + (panel * kPanel + slot) / kStep<T>;
    const T* at = *page++ + slot * values.stride;
    const int32_t keys = left < kPanel - slot ? left : kPanel - slot;
    left -= keys;
    ++panel;
    if (left > 0 && keys == kPanel) {
      HWY_UNROLL(16)
      for (int32_t pair = 0; pair < kPairs; ++pair) {
        add_keys<kRows, kVectors, false, T>(weights + pair * kParts<T>, at, nullptr, values.stride,
                                            kPair<T>, sums);
        at += kPair<T> * values.stride;
        for (int32_t r = pair * kRows / kPairs; r < (pair + 1) * kRows / kPairs; ++r)
          weigh<T>(softmax, r, panel);
      }
    } else {
      if (left > 0) weigh_rows<kRows, T>(softmax, panel);
      add_keys<kRows, kVectors, false, T>(weights, at, nullptr, values.stride, keys, sums);
    }
    slot = 0;
  }
  for (int32_t r = 0; r < kRows; ++r) {
    for (int32_t j = 0; j < kVectors; ++j) join.outputs(d, r, j * kLanes, sums[r][j]);
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
