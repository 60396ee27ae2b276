#include "cpu/int8_quantize.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int8_quantize.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/int8_activations-inl.hpp"
#include "cpu/int8_group-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE float float_of(uint32_t bits) {
  float value;
  hwy::CopyBytes<4>(&bits, &value);
  return value;
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
  uint32_t least_bits;
  hwy::CopyBytes<4>(&least, &least_bits);
  float best = least;
  float least_error = float_of(kInfinity);
  for (uint32_t i = 0; i < kInt8Scales; ++i) {
    const float scale = float_of(least_bits + (i << 16));
    const auto inverse = hn::Set(d, 1.0f / scale);
    auto squares = hn::Zero(d);
    HWY_UNROLL(4)
    for (int64_t k = 0; k < kInt8Group; k += kLanes) {
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

HWY_INLINE void quantize(const float* group, const float* error_steps, Rounded& out) {
  const auto most = static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(DI(), most_of_group(group))));
  float inverse = 0;
  if (most >= kInfinity) {
    out.scale = float_of(kNaN);
  } else if (float_of(most) < kInt8Smallest) {
    out.scale = 0;
  } else {
    const float exact = float_of(most) / kInt8Max;
    uint32_t bits;
    hwy::CopyBytes<4>(&exact, &bits);
    out.scale = best_scale(group, error_steps, float_of((bits + 0xffffu) & 0xffff0000u));
    inverse = 1.0f / out.scale;
  }
  const DI di;
  if (inverse == 0) {
    for (int64_t i = 0; i < kInt8Group; i += kLanes) hn::Store(hn::Zero(di), di, out.values + i);
    return;
  }
  const auto factor = hn::Set(D(), inverse);
  for (int64_t i = 0; i < kInt8Group; i += kLanes)
    hn::Store(nearest_int(hn::Mul(hn::Load(D(), group + i), factor)), di, out.values + i);
}

HWY_INLINE void copy_group(const float* from, int64_t count, float* group) {
  const D d;
  if (count >= kInt8Group) {
    for (int64_t i = 0; i < kInt8Group; i += kLanes)
      hn::Store(hn::LoadU(d, from + i), d, group + i);
    return;
  }
  for (int64_t i = 0; i < kInt8Group; ++i) group[i] = i < count ? from[i] : 0;
}

template <typename T>
HWY_INLINE void copy_group_as_floats(const T* from, int64_t count, float* group) {
  const D d;
  const hn::Rebind<T, D> narrow;
  HWY_ALIGN T padded[kInt8Group];
  if (count < kInt8Group) {
    const hn::RebindToUnsigned<decltype(narrow)> words;
    for (int64_t i = 0; i < kInt8Group; i += kLanes)
      hn::Store(hn::BitCast(narrow, hn::Zero(words)), narrow, padded + i);
    __builtin_memcpy(padded, from, static_cast<size_t>(count) * sizeof(T));
    from = padded;
  }
  for (int64_t i = 0; i < kInt8Group; i += kLanes)
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
  HWY_ALIGN float group[kInt8Group];
  HWY_ALIGN int8_t rows[kPanelColumns][kInt8Group];
  Rounded rounded;
  for (int64_t first = 0; first < in_features; first += kInt8Group) {
    const int64_t left = in_features - first;
    for (int64_t column = 0; column < kPanelColumns; ++column) {
      if (column < panel.columns) {
        widen_group(panel.rows[column], dtype, first, left < kInt8Group ? left : kInt8Group, group);
        quantize(group, error_steps + first, rounded);
      } else {
        rounded = {};
      }
      uint32_t bits;
      hwy::CopyBytes<4>(&rounded.scale, &bits);
      scales[first / kInt8Group * kPanelColumns + column] = static_cast<uint16_t>(bits >> 16);
      for (int64_t i = 0; i < kInt8Group; i += kLanes)
        hn::Store(hn::DemoteTo(bytes, hn::Load(di, rounded.values + i)), bytes, rows[column] + i);
    }
    interleave_rows<kInputs>(rows, values + first * kPanelColumns);
  }
}

// From `x` on: `groups` groups of `count` floats of each row, and zeros behind those, which lie in
// the output from `place` on. They are taken in the order of the output, so that a batch is whole
// however few rows there are.
template <Int8Dot kDot>
void quantize_groups(const float* x, int64_t stride, int64_t rows, int64_t groups, int64_t count,
                     int64_t place, const Int8Terms& terms) {
  const Int8Terms out = terms;  // a copy, which no store of bytes can change
  const uint32_t limit = outlier_limit(count);
  const int64_t end = place + groups * rows;
  int64_t row = 0;
  Batch batch;
  for (; place < end; place += batch.groups) {
    batch.place = place;
    batch.groups = static_cast<int32_t>(end - place < kBatch ? end - place : kBatch);
    for (int32_t i = 0; i < batch.groups; ++i) {
      batch.floats[i] = x;
      x += stride;
      if (++row == rows) {
        row = 0;
        x += kInt8Group - rows * stride;
      }
    }
    for (int32_t i = batch.groups; i % 4 != 0; ++i) batch.floats[i] = batch.floats[i - 1];
    quantize_batch<kDot>(batch, limit, rows, out);
  }
}

template <Int8Dot kDot>
void quantize_activations(const float* x, int64_t stride, int64_t rows, int64_t in_features,
                          const Int8Terms& out) {
  const int64_t groups = int8_groups(in_features);
  for (int64_t index = 0; index < groups; ++index) out.rows_with_second[index] = 0;
  const int64_t whole = in_features / kInt8Group;
  quantize_groups<kDot>(x, stride, rows, whole, kInt8Group, 0, out);
  if (whole == groups) return;
  const int64_t left = in_features - whole * kInt8Group;
  HWY_ALIGN float padded[kInt8MostRows * kInt8Group];
  for (int64_t row = 0; row < rows; ++row)
    copy_group(x + row * stride + whole * kInt8Group, left, padded + row * kInt8Group);
  quantize_groups<kDot>(padded, kInt8Group, rows, 1, left, whole * rows, out);
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
