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
  float* before;                 // totals of the blocks before, rows before_stride apart
  float* out;
};

// Where the totals of a pass come from and go.
struct Destination {
  int64_t before_stride;
  int64_t out_stride;
  bool first_block;
  bool last_block;
  const float* bias[kPanels];  // of the last block
  bool gated;
  bool stream;  // past the caches
};

// The first terms of a group of rows and of inputs, times one or two panels.
struct Product {
  const float* input_scales;  // of the rows
  const uint16_t* weight_scales[kPanels];
  float* totals;
  int64_t rows;
  // Rows that have a second term, and where the first of them lies.
  uint32_t with_second;
  int64_t second;
};

// Adds sums of a product to their totals, row by row.
template <int kWide>
class Adding {
 public:
  HWY_INLINE Adding(const Product& product, const int32_t* sums)
      : product_(product),
        sums_(sums),
        input_scales_(product.input_scales),
        totals_(product.totals),
        rows_(product.rows) {
    const D d;
    const hn::Rebind<hwy::bfloat16_t, D> halves;
    for (int j = 0; j < kWide && rows_ > 0; ++j) {
      scales_[j] = hn::PromoteTo(
          d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(product.weight_scales[j])));
    }
  }

  HWY_INLINE void add(int64_t rows) {
    const D d;
    const DI di;
    rows = rows < rows_ ? rows : rows_;
    rows_ -= rows;
    for (; rows > 0; --rows) {
      const V scale = hn::Set(d, *input_scales_++);
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) {
        const V sum = hn::Mul(hn::ConvertTo(d, hn::Load(di, sums_ + j * kTileSums)), scale);
        float* total = totals_ + j * kColumns;
        hn::Store(hn::MulAdd(sum, scales_[j], hn::Load(d, total)), d, total);
      }
      sums_ += kColumns;
      totals_ += kTotalStride;
    }
  }

  // Behind all rows.
  HWY_INLINE void add_seconds(const AmxInt8Scratch& scratch) const {
    const D d;
    const DI di;
    int64_t at = product_.second;
    for (uint32_t rows = product_.with_second; rows != 0; rows &= rows - 1) {
      const int32_t* sums = scratch.second_sums + at * kTotalStride;
      const V scale = hn::Set(d, scratch.second_scales[at]);
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) {
        float* total = product_.totals + std::countr_zero(rows) * kTotalStride + j * kColumns;
        const V sum = hn::Mul(hn::ConvertTo(d, hn::Load(di, sums + j * kColumns)), scale);
        hn::Store(hn::MulAdd(sum, scales_[j], hn::Load(d, total)), d, total);
      }
      ++at;
    }
  }

 private:
  const Product& product_;
  const int32_t* HWY_RESTRICT sums_;
  const float* HWY_RESTRICT input_scales_;
  float* HWY_RESTRICT totals_;
  int64_t rows_;
  V scales_[kWide];
};

// Zero, or what the blocks of inputs before left.
template <int kWide>
void begin_totals(const PassRows& x, const Destination& to) {
  const D d;
  for (int64_t row = 0; row < x.rows; ++row) {
    HWY_UNROLL(2)
    for (int j = 0; j < kWide; ++j) {
      const int64_t column = j * kColumns;
      hn::Store(
          to.first_block ? hn::Zero(d) : hn::LoadU(d, x.before + row * to.before_stride + column),
          d, x.totals + row * kTotalStride + column);
    }
  }
}

// To the output, through SwiGLU where it is gated, or behind a block of inputs that is not the last
// to where the next one begins.
template <int kWide>
void send_totals(const PassRows& x, const Destination& to) {
  const D d;
  V bias[kWide];
  HWY_UNROLL(2)
  for (int j = 0; j < kWide; ++j) {
    // Adding +0 where there is no bias, as the vector kernel does.
    bias[j] = to.bias[j] != nullptr ? hn::LoadU(d, to.bias[j]) : hn::Zero(d);
  }
  const auto send = [&](V values, float* out) HWY_ATTR {
    to.stream ? hn::Stream(values, d, out) : hn::StoreU(values, d, out);
  };
  for (int64_t row = 0; row < x.rows; ++row) {
    V values[kWide];
    HWY_UNROLL(2)
    for (int j = 0; j < kWide; ++j)
      values[j] = hn::Add(hn::Load(d, x.totals + row * kTotalStride + j * kColumns), bias[j]);
    float* out = to.last_block ? x.out + row * to.out_stride : x.before + row * to.before_stride;
    if (to.last_block && to.gated) {
      send(gated(d, values[0], values[kWide - 1]), out);
    } else {
      HWY_UNROLL(2)
      for (int j = 0; j < kWide; ++j) send(values[j], out + j * kColumns);
    }
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
