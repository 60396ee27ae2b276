// One number of each of sixteen rows in a vector (compiled for AVX-512 alone).
#if defined(BLOCK_ATTENTION_CPU_SIXTEEN_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_SIXTEEN_ROWS_INL
#undef BLOCK_ATTENTION_CPU_SIXTEEN_ROWS_INL
#else
#define BLOCK_ATTENTION_CPU_SIXTEEN_ROWS_INL
#endif

#include <cstdint>

#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using RowVector = hn::Vec<hn::CappedTag<float, 16>>;

// The halves of a and b combined: two lanes of each are one.
template <typename Combine>
HWY_INLINE RowVector combine_halves(RowVector a, RowVector b, Combine combine) {
  return combine(RowVector{_mm512_shuffle_f32x4(a.raw, b.raw, 0x44)},
                 RowVector{_mm512_shuffle_f32x4(a.raw, b.raw, 0xee)});
}
// The same of their quarters, the first with the second and the third with the fourth.
template <typename Combine>
HWY_INLINE RowVector combine_quarters(RowVector a, RowVector b, Combine combine) {
  return combine(RowVector{_mm512_shuffle_f32x4(a.raw, b.raw, 0x88)},
                 RowVector{_mm512_shuffle_f32x4(a.raw, b.raw, 0xdd)});
}
// The same of neighbours in each quarter.
template <typename Combine>
HWY_INLINE RowVector combine_neighbours(RowVector a, RowVector b, Combine combine) {
  return combine(RowVector{_mm512_shuffle_ps(a.raw, b.raw, 0x88)},
                 RowVector{_mm512_shuffle_ps(a.raw, b.raw, 0xdd)});
}

// Lane r: the 16 lanes of row(r) combined, in the order of combine_lanes() (four_rows-inl.hpp).
template <typename Row, typename Combine>
HWY_INLINE RowVector combine_sixteen(Row row, Combine combine) {
  // Rows first, first + 4, first + 8 and first + 12, one in each quarter.
  const auto four = [&](int32_t first) HWY_ATTR {
    return combine_quarters(combine_halves(row(first), row(first + 4), combine),
                            combine_halves(row(first + 8), row(first + 12), combine), combine);
  };
  return combine_neighbours(combine_neighbours(four(0), four(1), combine),
                            combine_neighbours(four(2), four(3), combine), combine);
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
