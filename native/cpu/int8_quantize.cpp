#include "cpu/int8_quantize.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int8_quantize.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;

HWY_INLINE float float_of(uint32_t bits) {
  float value;
  hwy::CopyBytes<4>(&bits, &value);
  return value;
}

constexpr uint32_t kInfinity = 0x7f800000u;
constexpr uint32_t kNaN = 0x7fc00000u;

// The bits of the greatest magnitude: as integers they are ordered as the numbers are, NaN above
// all.
HWY_INLINE uint32_t greatest(const float* group) {
  const D d;
  const DI di;
  auto most = hn::Zero(di);
  for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(d)))
    most = hn::Max(most, hn::BitCast(di, hn::Abs(hn::Load(d, group + i))));
  return static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(di, most)));
}

// Added to a float of less magnitude than 2^22 it leaves the nearest integer, halves to even, in
// the last bits: faster than conversions, which have to mind numbers that are too large.
constexpr float kRounder = 0x1.8p23f;

HWY_INLINE void round_group(const float* group, float inverse, int32_t* values) {
  const D d;
  const DI di;
  const auto factor = hn::Set(d, inverse);
  const auto rounder = hn::Set(d, kRounder);
  for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(d))) {
    const auto rounded = hn::Add(hn::Mul(hn::Load(d, group + i), factor), rounder);
    hn::Store(hn::Sub(hn::BitCast(di, rounded), hn::BitCast(di, rounder)), di, values + i);
  }
}

// A group's scale and integers, zero where they mean nothing.
struct Rounded {
  float scale;
  HWY_ALIGN int32_t values[kInt8Group];
};

// One of kInt8Scales bfloat16s, from `least` on. Sums of squares do not pass 2^24, so they are
// exact in any order.
static_assert(kInt8Group * (kInt8ErrorSteps / 2) * (kInt8ErrorSteps / 2) <= 0x1p24f);
HWY_INLINE float best_scale(const float* group, const float* error_steps, float least) {
  const D d;
  const auto rounder = hn::Set(d, kRounder);
  const auto nearest = [&](auto v) HWY_ATTR { return hn::Sub(hn::Add(v, rounder), rounder); };
  uint32_t least_bits;
  hwy::CopyBytes<4>(&least, &least_bits);
  float best = least;
  float least_error = float_of(kInfinity);
  for (uint32_t i = 0; i < kInt8Scales; ++i) {
    const float scale = float_of(least_bits + (i << 16));
    const auto inverse = hn::Set(d, 1.0f / scale);
    auto squares = hn::Zero(d);
    HWY_UNROLL(4)
    for (int64_t k = 0; k < kInt8Group; k += static_cast<int64_t>(hn::Lanes(d))) {
      const auto exact = hn::Mul(hn::Load(d, group + k), inverse);
      const auto rest = hn::Sub(exact, nearest(exact));
      const auto error = nearest(hn::Mul(rest, hn::LoadU(d, error_steps + k)));
      squares = hn::MulAdd(error, error, squares);
    }
    const float coarser = scale / least;
    const float error = hn::GetLane(hn::SumOfLanes(d, squares)) * (coarser * coarser);
    if (error < least_error) {
      least_error = error;
      best = scale;
    }
  }
  return best;
}

// By a float32, or of weights by the bfloat16 that suits them best.
template <bool kWeights>
HWY_INLINE void quantize(const float* group, const float* error_steps, Rounded& out) {
  const uint32_t most = greatest(group);
  float inverse = 0;
  if (most >= kInfinity) {
    out.scale = float_of(kNaN);
  } else if (float_of(most) < kInt8Smallest) {
    out.scale = 0;
  } else {
    out.scale = float_of(most) / (kWeights ? kInt8Max : kInt8ActivationMax);
    if (kWeights) {
      uint32_t bits;
      hwy::CopyBytes<4>(&out.scale, &bits);
      out.scale = best_scale(group, error_steps, float_of((bits + 0xffffu) & 0xffff0000u));
    }
    inverse = 1.0f / out.scale;
  }
  if (inverse == 0) {
    const DI di;
    for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(di)))
      hn::Store(hn::Zero(di), di, out.values + i);
    return;
  }
  round_group(group, inverse, out.values);
}

HWY_INLINE void copy_group(const float* from, int64_t count, float* group) {
  const D d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  if (count >= kInt8Group) {
    for (int64_t i = 0; i < kInt8Group; i += lanes) hn::Store(hn::LoadU(d, from + i), d, group + i);
    return;
  }
  for (int64_t i = 0; i < kInt8Group; ++i) group[i] = i < count ? from[i] : 0;
}

template <typename T>
HWY_INLINE void copy_group_as_floats(const T* from, int64_t count, float* group) {
  const D d;
  const hn::Rebind<T, D> narrow;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN T padded[kInt8Group];
  if (count < kInt8Group) {
    const hn::RebindToUnsigned<decltype(narrow)> words;
    for (int64_t i = 0; i < kInt8Group; i += lanes)
      hn::Store(hn::BitCast(narrow, hn::Zero(words)), narrow, padded + i);
    __builtin_memcpy(padded, from, static_cast<size_t>(count) * sizeof(T));
    from = padded;
  }
  for (int64_t i = 0; i < kInt8Group; i += lanes)
    hn::Store(hn::PromoteTo(d, hn::LoadU(narrow, from + i)), d, group + i);
}

HWY_INLINE void widen_group(const void* row, DType dtype, int64_t first, int64_t count,
                            float* group) {
  switch (dtype) {
    case DType::kF32:
      return copy_group(static_cast<const float*>(row) + first, count, group);
    case DType::kBF16:
      return copy_group_as_floats(static_cast<const hwy::bfloat16_t*>(row) + first, count, group);
    case DType::kF16:
      return copy_group_as_floats(static_cast<const hwy::float16_t*>(row) + first, count, group);
    case DType::kI8:
      return;  // no weights have it
  }
}

// out[i / kInputs][row][i % kInputs] = rows[row][i]
template <int64_t kInputs>
HWY_INLINE void interleave_rows(const int8_t (&rows)[kPanelColumns][kInt8Group], uint8_t* out) {
  for (int64_t i = 0; i < kInt8Group; i += kInputs) {
    for (int64_t row = 0; row < kPanelColumns; ++row)
      hwy::CopyBytes<kInputs>(rows[row] + i, out + i * kPanelColumns + row * kInputs);
  }
}

template <int64_t kInputs>
void quantize_weights(const PanelRows& panel, DType dtype, int64_t in_features,
                      const float* error_steps, uint8_t* values, uint16_t* scales) {
  const DI di;
  const hn::Rebind<int8_t, DI> bytes;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(di));
  HWY_ALIGN float group[kInt8Group];
  HWY_ALIGN int8_t rows[kPanelColumns][kInt8Group];
  Rounded rounded;
  for (int64_t first = 0; first < in_features; first += kInt8Group) {
    const int64_t left = in_features - first;
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      if (column < panel.columns) {
        widen_group(panel.rows[column], dtype, first, left < kInt8Group ? left : kInt8Group, group);
        quantize<true>(group, error_steps + first, rounded);
      } else {
        rounded = {};
      }
      uint32_t bits;
      hwy::CopyBytes<4>(&rounded.scale, &bits);
      scales[first / kInt8Group * kPanelColumns + column] = static_cast<uint16_t>(bits >> 16);
      for (int64_t i = 0; i < kInt8Group; i += lanes)
        hn::Store(hn::DemoteTo(bytes, hn::Load(di, rounded.values + i)), bytes, rows[column] + i);
    }
    interleave_rows<kInputs>(rows, values + first * kPanelColumns);
  }
}

// The sum of squares says whether the greatest of `count` values, which is kInt8ActivationMax, is
// an outlier.
HWY_INLINE bool has_outlier(const int32_t* values, int64_t count) {
  const DI di;
  auto squares = hn::Zero(di);
  for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(di))) {
    const auto v = hn::Load(di, values + i);
    squares = hn::Add(squares, hn::Mul(v, v));
  }
  return kInt8Outlier * kInt8Outlier * hn::GetLane(hn::SumOfLanes(di, squares)) <
         count * kInt8ActivationMax * kInt8ActivationMax;
}

// What `rounded` left of the group, in its own steps. The product is rounded before it is taken
// off, on every CPU.
HWY_INLINE void quantize_rest(const float* group, const Rounded& rounded, Rounded& out) {
  const D d;
  const DI di;
  HWY_ALIGN float rest[kInt8Group];
  const auto scale = hn::Set(d, rounded.scale);
  for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(d))) {
    const auto first = hn::Mul(hn::ConvertTo(d, hn::Load(di, rounded.values + i)), scale);
    hn::Store(hn::Sub(hn::Load(d, group + i), first), d, rest + i);
  }
  out.scale = rounded.scale / kInt8SecondSteps;
  round_group(rest, kInt8SecondSteps / rounded.scale, out.values);
}

// Keeps a row's group at `out`, and gives what its sum lacks.
template <Int8Dot kDot>
HWY_INLINE int32_t keep(const int32_t* values, char* out) {
  const DI di;
  const hn::Rebind<int8_t, DI> narrow;
  auto negative = hn::Zero(di);
  for (int64_t i = 0; i < kInt8Group; i += static_cast<int64_t>(hn::Lanes(di))) {
    const auto value = hn::Load(di, values + i);
    if constexpr (kDot == Int8Dot::kPairs) {
      const hn::Rebind<int16_t, DI> words;
      hn::StoreU(hn::DemoteTo(words, value), words, reinterpret_cast<int16_t*>(out) + i);
    } else {
      int8_t* bytes = reinterpret_cast<int8_t*>(out) + i;
      if constexpr (kDot == Int8Dot::kQuads) {
        const hn::Rebind<uint8_t, DI> magnitudes;
        const auto sign = hn::ShiftRight<31>(value);
        const auto magnitude = hn::Abs(value);
        negative = hn::Add(negative, hn::And(magnitude, sign));
        hn::StoreU(hn::DemoteTo(magnitudes, magnitude), magnitudes,
                   reinterpret_cast<uint8_t*>(bytes));
        hn::StoreU(hn::DemoteTo(narrow, sign), narrow, bytes + kInt8Group);
      } else {
        const auto half = hn::ShiftRight<1>(value);
        hn::StoreU(hn::DemoteTo(narrow, half), narrow, bytes);
        hn::StoreU(hn::DemoteTo(narrow, hn::Sub(value, half)), narrow, bytes + kInt8Group);
      }
    }
  }
  return kDot == Int8Dot::kQuads ? hn::GetLane(hn::SumOfLanes(di, negative)) : 0;
}

// Group `group` of row `row` of `rows`.
template <Int8Dot kDot>
HWY_INLINE void store_row(const Rounded& rounded, int64_t group, int64_t row, int64_t rows,
                          const Int8Rows& out) {
  const int64_t at = group * rows + row;
  out.scales[at] = rounded.scale;
  out.corrections[at] = keep<kDot>(rounded.values, out.values + at * kInt8RowBytes);
}

template <Int8Dot kDot>
void quantize_activations(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                          const Int8Terms& out) {
  HWY_ALIGN float group[kInt8Group];
  Rounded first_term;
  Rounded second_term;
  const int64_t groups = int8_groups(in_features);
  for (int64_t index = 0; index < groups; ++index) out.rows_with_second[index] = 0;
  // Row by row, as they lie in memory.
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t index = 0; index < groups; ++index) {
      const int64_t left = in_features - index * kInt8Group;
      const int64_t count = left < kInt8Group ? left : kInt8Group;
      copy_group(x + row * stride + index * kInt8Group, count, group);
      quantize<false>(group, nullptr, first_term);
      store_row<kDot>(first_term, index, row, rows, out.first);
      if (first_term.scale > 0 && has_outlier(first_term.values, count)) {
        quantize_rest(group, first_term, second_term);
        store_row<kDot>(second_term, index, row, rows, out.second);
        out.rows_with_second[index] |= static_cast<uint16_t>(1 << row);
      }
    }
  }
}

void quantize_weights_by_two(const PanelRows& panel, DType dtype, int64_t in_features,
                             const float* error_steps, uint8_t* values, uint16_t* scales) {
  quantize_weights<2>(panel, dtype, in_features, error_steps, values, scales);
}
void quantize_weights_by_four(const PanelRows& panel, DType dtype, int64_t in_features,
                              const float* error_steps, uint8_t* values, uint16_t* scales) {
  quantize_weights<4>(panel, dtype, in_features, error_steps, values, scales);
}
void quantize_activations_pairs(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                                const Int8Terms& out) {
  quantize_activations<Int8Dot::kPairs>(x, stride, rows, in_features, out);
}
void quantize_activations_quads(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                                const Int8Terms& out) {
  quantize_activations<Int8Dot::kQuads>(x, stride, rows, in_features, out);
}
void quantize_activations_amx(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                              const Int8Terms& out) {
  quantize_activations<Int8Dot::kAmx>(x, stride, rows, in_features, out);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

Int8QuantizeKernels int8_quantize_kernels(Isa isa, Int8Dot dot) {
  if (dot == Int8Dot::kAmx) {
    return {BLOCK_ATTENTION_KERNEL(isa, quantize_weights_by_four),
            BLOCK_ATTENTION_KERNEL(isa, quantize_activations_amx)};
  }
  if (dot == Int8Dot::kQuads) {
    return {BLOCK_ATTENTION_KERNEL(isa, quantize_weights_by_four),
            BLOCK_ATTENTION_KERNEL(isa, quantize_activations_quads)};
  }
  return {BLOCK_ATTENTION_KERNEL(isa, quantize_weights_by_two),
          BLOCK_ATTENTION_KERNEL(isa, quantize_activations_pairs)};
}

}  // namespace block_attention
#endif
