// Sums of int8 products on their way from tiles to the output (compiled for AVX-512 alone): scaled
// and added to their totals, group of inputs by group, and sent on when all groups are through.
#if defined(BLOCK_ATTENTION_CPU_AMX_INT8_SUMS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_AMX_INT8_SUMS_INL
#undef BLOCK_ATTENTION_CPU_AMX_INT8_SUMS_INL
#else
#define BLOCK_ATTENTION_CPU_AMX_INT8_SUMS_INL
#endif

#include <bit>
#include <cstdint>

#include "cpu/amx_int8_scratch.hpp"
#include "cpu/amx_tiles.hpp"
#include "cpu/swiglu-inl.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kColumns = kPanelColumns;
using D = hn::CappedTag<float, kColumns>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

constexpr int64_t kPanels = kAmxInt8Panels;
constexpr int64_t kRowGroups = 2;
constexpr int64_t kTileSums = amx::kTileRows * kColumns;
constexpr int64_t kTotalStride = kPanels * kColumns;

// A group of rows of a pass.
struct PassRows {
  int64_t rows;
  const char* values;            // of the block's first group of inputs
  const float* scales;           // the same
  const uint16_t* with_second;   // of each group of inputs
  const int32_t* seconds_begin;  // where those of each group of inputs begin
  float* totals;                 // [16][kTotalStride]
  const float* begin;            // what they begin with
  float* end;                    // where they go
};

// Where the totals of a pass come from and go: those of the part's first row, and how far rows are
// apart.
struct Destination {
  const float* begin;
  int64_t begin_stride;
  float* end;
  int64_t end_stride;
  const float* bias[kPanels];  // null where there is none, or not yet
  bool gated;
  bool stream;  // past the caches
};

// The first terms of a group of rows and of inputs, times one or two panels.
struct Product {
  const PassRows* x;  // null where there is none
  const Destination* to;
  const uint16_t* weight_scales[kPanels];
  int64_t group;
  bool last;
};

// To the output, through SwiGLU where it is gated, or behind a block of inputs that is not the last
// to where the next one begins.
template <int kWide>
HWY_INLINE void send_totals(const PassRows& x, const Destination& to, int64_t first, int64_t last) {
  const D d;
  V bias[kWide];
  HWY_UNROLL(2)
  for (int j = 0; j < kWide; ++j) {
    // Adding +0 where there is no bias, as the vector kernel does.
    bias[j] = to.bias[j] != nullptr ? hn::LoadU(d, to.bias[j]) : hn::Zero(d);
  }
  const auto send = [&](V values, float* end) HWY_ATTR {
    to.stream ? hn::Stream(values, d, end) : hn::StoreU(values, d, end);
  };
  for (int64_t row = first; row < last; ++row) {
    V values[kWide];
    HWY_UNROLL(2)
    for (int j = 0; j < kWide; ++j)
      values[j] = hn::Add(hn::Load(d, x.totals + row * kTotalStride + j * kColumns), bias[j]);
    float* end = x.end + row * to.end_stride;
    if (to.gated) {
      send(gated(d, values[0], values[kWide - 1]), end);
    } else {
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) send(values[j], end + j * kColumns);
    }
  }
}

// Adds sums of a product to their totals, row by row. kMiddle: it is there, and neither the first
// nor the last of its totals.
template <int kWide, bool kMiddle>
class Adding {
 public:
  HWY_INLINE Adding(const Product& product, const int32_t* sums) : product_(product), sums_(sums) {
    if (!kMiddle && product.x == nullptr) return;
    const PassRows& x = *product.x;
    rows_ = x.rows;
    input_scales_ = x.scales + product.group * x.rows;
    totals_ = x.totals;
    if (!kMiddle) {
      from_ = product.group == 0 ? x.begin : x.totals;
      from_stride_ = product.group == 0 ? product.to->begin_stride : kTotalStride;
    }
    const D d;
    const hn::Rebind<hwy::bfloat16_t, D> halves;
    for (int j = 0; j < kWide; ++j) {
      scales_[j] = hn::PromoteTo(
          d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(product.weight_scales[j])));
    }
  }

  template <int64_t kRows>
  HWY_INLINE void add() {
    if (rows_ >= kRows) {
      HWY_UNROLL(16)
      for (int64_t row = 0; row < kRows; ++row) add_row();
      rows_ -= kRows;
    } else {
      for (; rows_ > 0; --rows_) add_row();
    }
  }

  // Behind all rows.
  HWY_INLINE void add_seconds(const AmxInt8Scratch& scratch) const {
    if (!kMiddle && product_.x == nullptr) return;
    const D d;
    const DI di;
    const PassRows& x = *product_.x;
    int64_t at = x.seconds_begin[product_.group];
    for (uint32_t rows = x.with_second[product_.group]; rows != 0; rows &= rows - 1) {
      const int32_t* sums = scratch.second_sums + at * kTotalStride;
      const V scale = hn::Set(d, scratch.second_scales[at]);
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) {
        float* total = x.totals + std::countr_zero(rows) * kTotalStride + j * kColumns;
        const V sum = hn::Mul(hn::ConvertTo(d, hn::Load(di, sums + j * kColumns)), scale);
        hn::Store(hn::MulAdd(sum, scales_[j], hn::Load(d, total)), d, total);
      }
      ++at;
    }
  }

 private:
  HWY_INLINE void add_row() {
    const D d;
    const DI di;
    const V scale = hn::Set(d, *input_scales_++);
    HWY_UNROLL(2)
    for (int j = 0; j < kWide; ++j) {
      const V sum = hn::Mul(hn::ConvertTo(d, hn::Load(di, sums_ + j * kTileSums)), scale);
      float* total = totals_ + j * kColumns;
      const V before = kMiddle ? hn::Load(d, total) : hn::LoadU(d, from_ + j * kColumns);
      hn::Store(hn::MulAdd(sum, scales_[j], before), d, total);
    }
    sums_ += kColumns;
    totals_ += kTotalStride;
    if (!kMiddle) from_ += from_stride_;
  }

  const Product& product_;
  int64_t rows_ = 0;
  const int32_t* HWY_RESTRICT sums_;
  const float* HWY_RESTRICT input_scales_ = nullptr;
  const float* from_ = nullptr;
  int64_t from_stride_ = 0;
  float* totals_ = nullptr;
  V scales_[kWide];
};

// Totals on their way to the output, a few rows behind every product that follows.
struct Leaving {
  const PassRows* x;  // null where there are none
  const Destination* to;
  int64_t row;

  template <int kWide>
  HWY_INLINE void send(int64_t rows) {
    if (x == nullptr) return;
    const int64_t last = row + rows < x->rows ? row + rows : x->rows;
    send_totals<kWide>(*x, *to, row, last);
    row = last;
    if (last == x->rows) x = nullptr;
  }
};

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
