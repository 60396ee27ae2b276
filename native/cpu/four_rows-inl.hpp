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

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
