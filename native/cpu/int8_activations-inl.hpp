// Activations to int8, a batch of groups at a time (compiled once per Highway target). What has to
// be known of a whole group takes long to find out, but for four groups no longer than for one, and
// for those of a batch one after another, before any of it is needed.
#if defined(BLOCK_ATTENTION_CPU_INT8_ACTIVATIONS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_INT8_ACTIVATIONS_INL
#undef BLOCK_ATTENTION_CPU_INT8_ACTIVATIONS_INL
#else
#define BLOCK_ATTENTION_CPU_INT8_ACTIVATIONS_INL
#endif

#include <cstdint>

#include "cpu/four_rows-inl.hpp"
#include "cpu/int8_group-inl.hpp"
#include "cpu/int8_quantize.hpp"
#include "cpu/int8_words-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kBatch = 16;

// Groups that lie side by side in the output, from `place` on: those of all rows for one group of
// inputs, then for the next. What lacks of whole fours is the last one once more, so that scales
// are found of four; it is not kept again.
struct Batch {
  int32_t groups;
  const float* floats[kBatch];
  int64_t place;
};

// What is found out of every group; an inverse is zero where there are no integers.
struct Findings {
  HWY_ALIGN int32_t most[kBatch];
  HWY_ALIGN float scales[kBatch];
  HWY_ALIGN float inverses[kBatch];
  HWY_ALIGN int32_t squares[kBatch];
  HWY_ALIGN int32_t corrections[kBatch];
};

// The scales of four groups, of which the bits of the greatest magnitudes are given.
HWY_INLINE void scale_four(const int32_t* most, float* scales, float* inverses) {
  const F4 d;
  const hn::RebindToSigned<F4> di;
  const auto one = hn::Set(d, 1.0f);
  const auto nan = hn::BitCast(d, hn::Set(di, static_cast<int32_t>(kNaN)));
  for (size_t i = 0; i < 4; i += hn::Lanes(d)) {
    const auto bits = hn::Load(di, most + i);
    const auto number = hn::BitCast(d, bits);
    const auto finite =
        hn::RebindMask(d, hn::Lt(bits, hn::Set(di, static_cast<int32_t>(kInfinity))));
    const auto some = hn::And(finite, hn::Ge(number, hn::Set(d, kInt8Smallest)));
    const auto scale = hn::Div(number, hn::Set(d, kInt8ActivationMax));
    hn::Store(hn::IfThenElse(finite, hn::IfThenElseZero(some, scale), nan), d, scales + i);
    hn::Store(hn::IfThenElseZero(some, hn::Div(one, scale)), d, inverses + i);
  }
}

HWY_INLINE void find_scales(const Batch& batch, Findings& found) {
  const auto greater = [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); };
  for (int32_t i = 0; i < batch.groups; i += 4) {
    const float* const* four = batch.floats + i;
    combine_four(DI(), most_of_group(four[0]), most_of_group(four[1]), most_of_group(four[2]),
                 most_of_group(four[3]), greater, found.most + i);
    scale_four(found.most + i, found.scales + i, found.inverses + i);
  }
}

HWY_INLINE void round_to_words(const float* group, float inverse, Words& words) {
  const auto factor = hn::Set(D(), inverse);
  const auto integers = [&](int64_t i) HWY_ATTR {
    return nearest_int(hn::Mul(hn::LoadU(D(), group + i), factor));
  };
  to_words(integers, words);
}

// What the first term left of the group at `place`, in its own steps. The product is rounded before
// it is taken off, on every CPU.
template <Int8Dot kDot>
HWY_INLINE void quantize_rest(const float* group, float scale, float inverse, int64_t place,
                              int64_t rows, const Int8Terms& out) {
  const auto factor = hn::Set(D(), inverse);
  const auto step = hn::Set(D(), scale);
  const auto second_factor = hn::Set(D(), kInt8SecondSteps / scale);
  const auto integers = [&](int64_t i) HWY_ATTR {
    const auto exact = hn::LoadU(D(), group + i);
    const auto first = hn::Mul(nearest(hn::Mul(exact, factor)), step);
    return nearest_int(hn::Mul(hn::Sub(exact, first), second_factor));
  };
  Words words;
  to_words(integers, words);
  keep_words<kDot>(words, out.second.values + place * kInt8RowBytes);
  out.second.scales[place] = scale / kInt8SecondSteps;
  out.second.corrections[place] =
      kDot == Int8Dot::kQuads ? hn::GetLane(hn::SumOfLanes(DI(), negative_magnitudes(words))) : 0;
  out.rows_with_second[place / rows] |= static_cast<uint16_t>(1 << place % rows);
}

// The greatest of `count` integers, which is kInt8ActivationMax, is an outlier if the sum of their
// squares is no more.
constexpr uint32_t outlier_limit(int64_t count) {
  constexpr int64_t kMost = kInt8ActivationMax * kInt8ActivationMax;
  return static_cast<uint32_t>((count * kMost - 1) / (kInt8Outlier * kInt8Outlier));
}

// Groups without integers have none.
HWY_INLINE bool has_second(int32_t squares, uint32_t limit, float scale) {
  return static_cast<uint32_t>(squares) - 1 < limit && scale <= kInt8SecondMostScale;
}

template <Int8Dot kDot>
HWY_INLINE void quantize_four(const Batch& batch, int32_t first, char* values, Findings& found) {
  HWY_ALIGN static constexpr float kNothing[kInt8Group] = {};
  const auto sum = [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); };
  VI squares[4];
  VI corrections[4];
  for (int32_t i = 0; i < 4; ++i) {
    squares[i] = hn::Zero(DI());
    corrections[i] = hn::Zero(DI());
    const int32_t at = first + i;
    if (at >= batch.groups) continue;
    // Zero times an infinity or a NaN is no zero.
    const float* floats = found.inverses[at] > 0 ? batch.floats[at] : kNothing;
    Words words;
    round_to_words(floats, found.inverses[at], words);
    squares[i] = square_words(words);
    if constexpr (kDot == Int8Dot::kQuads) corrections[i] = negative_magnitudes(words);
    keep_words<kDot>(words, values + (batch.place + at) * kInt8RowBytes);
  }
  combine_four(DI(), squares[0], squares[1], squares[2], squares[3], sum, found.squares + first);
  if constexpr (kDot == Int8Dot::kQuads) {
    combine_four(DI(), corrections[0], corrections[1], corrections[2], corrections[3], sum,
                 found.corrections + first);
  }
}

template <Int8Dot kDot>
HWY_INLINE void quantize_batch(const Batch& batch, uint32_t limit, int64_t rows,
                               const Int8Terms& out) {
  Findings found;
  find_scales(batch, found);
  for (int32_t i = 0; i < batch.groups; i += 4)
    quantize_four<kDot>(batch, i, out.first.values, found);
  for (int32_t i = 0; i < batch.groups; ++i) {
    const int64_t place = batch.place + i;
    out.first.scales[place] = found.scales[i];
    out.first.corrections[place] = kDot == Int8Dot::kQuads ? found.corrections[i] : 0;
    if (HWY_UNLIKELY(has_second(found.squares[i], limit, found.scales[i]))) {
      quantize_rest<kDot>(batch.floats[i], found.scales[i], found.inverses[i], place, rows, out);
    }
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
