// One number of each of four rows in a vector (compiled once per Highway target). Numbers that were
// stored one by one must not be loaded as a vector right afterwards: that waits until they have
// reached the cache. So numbers of rows are put side by side in registers, and kept in fours.
#if defined(BLOCK_ATTENTION_CPU_FOUR_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_FOUR_ROWS_INL
#undef BLOCK_ATTENTION_CPU_FOUR_ROWS_INL
#else
#define BLOCK_ATTENTION_CPU_FOUR_ROWS_INL
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F4 = hn::CappedTag<float, 4>;  // one lane on a target without vectors
using V4 = hn::Vec<F4>;

// columns[i][row] = rows[row][i], for four elements of four rows.
HWY_INLINE void transpose_four(const float* const* rows, float (&columns)[4][4]) {
#if HWY_TARGET == HWY_SCALAR
  for (int32_t i = 0; i < 4; ++i) {
    for (int32_t row = 0; row < 4; ++row) columns[i][row] = rows[row][i];
  }
#else
  const F4 d;
  const V4 a = hn::Load(d, rows[0]);
  const V4 b = hn::Load(d, rows[1]);
  const V4 c = hn::Load(d, rows[2]);
  const V4 e = hn::Load(d, rows[3]);
  const V4 ab = hn::InterleaveLower(d, a, b);
  const V4 ce = hn::InterleaveLower(d, c, e);
  hn::Store(hn::ConcatLowerLower(d, ce, ab), d, columns[0]);
  hn::Store(hn::ConcatUpperUpper(d, ce, ab), d, columns[1]);
  const V4 ab2 = hn::InterleaveUpper(d, a, b);
  const V4 ce2 = hn::InterleaveUpper(d, c, e);
  hn::Store(hn::ConcatLowerLower(d, ce2, ab2), d, columns[2]);
  hn::Store(hn::ConcatUpperUpper(d, ce2, ab2), d, columns[3]);
#endif
}

// results[row] = the 16 lanes of each row combined, in the same order for every vector width.
// lanes: [rows][16]; results: room for whole fours.
template <typename Combine>
HWY_INLINE void combine_lanes(const float* lanes, int32_t rows, Combine combine, float* results) {
  const F4 d;
  constexpr auto kStep = static_cast<int32_t>(hn::MaxLanes(d));
  for (int32_t r = 0; r < rows; r += 4) {
    HWY_ALIGN float fours[4][4];
    for (int32_t row = 0; row < 4; ++row) {
      const float* at = lanes + (r + row < rows ? r + row : rows - 1) * 16;
      for (int32_t i = 0; i < 4; i += kStep) {
        hn::Store(combine(combine(hn::Load(d, at + i), hn::Load(d, at + i + 8)),
                          combine(hn::Load(d, at + i + 4), hn::Load(d, at + i + 12))),
                  d, fours[row] + i);
      }
    }
    const float* const from[4] = {fours[0], fours[1], fours[2], fours[3]};
    HWY_ALIGN float columns[4][4];
    transpose_four(from, columns);
    for (int32_t i = 0; i < 4; i += kStep) {
      hn::Store(combine(combine(hn::Load(d, columns[0] + i), hn::Load(d, columns[1] + i)),
                        combine(hn::Load(d, columns[2] + i), hn::Load(d, columns[3] + i))),
                d, results + r + i);
    }
  }
}

#if HWY_TARGET == HWY_SCALAR
template <class D, class V, typename Combine>
HWY_INLINE void combine_four(D, V a, V b, V c, V e, Combine, hn::TFromD<D>* results) {
  const V all[4] = {a, b, c, e};
  for (int32_t i = 0; i < 4; ++i) results[i] = hn::GetLane(all[i]);
}
#else
// The lanes of a combined, and those of b, two of each: one of a and one of b in turn.
template <class D, class V, typename Combine>
HWY_INLINE V combine_in_turn(D d, V a, V b, Combine combine) {
  return combine(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
}

// results[i] = all lanes of the i-th vector combined, in an order that the vector width decides.
template <class D, class V, typename Combine>
HWY_INLINE void combine_four(D d, V a, V b, V c, V e, Combine combine, hn::TFromD<D>* results) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    const V ac = combine_in_turn(d, a, c, combine);
    const V be = combine_in_turn(d, b, e, combine);
    hn::Store(combine_in_turn(d, ac, be, combine), d, results);
  } else {
    const V ab = combine(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
    const V ce = combine(hn::ConcatLowerLower(d, e, c), hn::ConcatUpperUpper(d, e, c));
    // A half of a and c, and one of b and e.
    const V acbe = combine_in_turn(d, ab, ce, combine);
    const hn::Half<D> half;
    const auto abce =
        combine_in_turn(half, hn::LowerHalf(half, acbe), hn::UpperHalf(half, acbe), combine);
    if constexpr (hn::MaxLanes(half) == 4) {
      hn::Store(abce, half, results);
    } else {
      const hn::Half<decltype(half)> four;
      hn::Store(combine(hn::LowerHalf(four, abce), hn::UpperHalf(four, abce)), four, results);
    }
  }
}
#endif

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
