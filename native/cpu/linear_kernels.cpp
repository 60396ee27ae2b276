#include "cpu/linear_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kColumns = 16;
using D = hn::CappedTag<float, kColumns>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = static_cast<int>(kColumns) / kLanes;  // per panel

// Registers for sums, the most rows of a group that is repacked, and the panels it takes at once.
#if HWY_TARGET == HWY_AVX3
constexpr int kAccumulators = 28;
constexpr int kGroupRows = 14;
constexpr int kGroupPanels = 2;
#elif HWY_TARGET == HWY_AVX2
constexpr int kAccumulators = 12;
constexpr int kGroupRows = 6;
constexpr int kGroupPanels = 1;
#elif HWY_TARGET == HWY_SCALAR
constexpr int kAccumulators = 64;
constexpr int kGroupRows = 4;
constexpr int kGroupPanels = 1;
#else
constexpr int kAccumulators = 24;
constexpr int kGroupRows = 6;
constexpr int kGroupPanels = 1;
#endif
static_assert(kGroupRows * kGroupPanels * kVectors <= kAccumulators && kGroupPanels <= kMaxWidePanels);

constexpr int kDirectRows = 8;
constexpr int kDirectGroupRows = kGroupRows < kDirectRows ? kGroupRows : kDirectRows;
// Few rows take several panels at once, so that there are enough independent sums to hide the latency of an addition
// and enough streams to keep memory busy.
constexpr int direct_panels(int64_t rows) {
  if (rows * 4 * kVectors <= (kAccumulators < 16 ? kAccumulators : 16)) return 4;
  return rows * 2 * kVectors <= kAccumulators ? 2 : 1;
}

HWY_INLINE V load_wide(const float* from) { return hn::LoadU(D(), from); }
template <typename T>
HWY_INLINE V load_wide(const T* from) {
  return hn::PromoteTo(D(), hn::LoadU(hn::Rebind<T, D>(), from));
}

template <typename T>
struct Micro {
  const float* x;
  int64_t x_stride;  // between rows, direct only
  const T* panels;
  int64_t panel_stride;
  int64_t inputs;
  float* wide;  // repacked 16-bit weights: the panels as float32, for the groups that follow
  float* out;
  int64_t out_stride;
  bool add;           // to what earlier blocks left in out
  const float* bias;  // with the last block
};

// One block of inputs: out[kRows, kPanels x 16] (+)= x[kRows, inputs] * panels.
template <int kRows, int kPanels, bool kRepacked, typename T>
HWY_NOINLINE void micro(const Micro<T>& m) {
  constexpr int kWidth = kPanels * kVectors;
  constexpr bool kKeepWide = kRepacked && sizeof(T) == 2;
  const D d;
  V sums[kRows][kWidth];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(32)
    for (int j = 0; j < kWidth; ++j) sums[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT x = m.x;
  const T* HWY_RESTRICT panels = m.panels;
  float* HWY_RESTRICT wide = m.wide;
  const int64_t x_stride = m.x_stride;
  const int64_t panel_stride = m.panel_stride;
  for (int64_t k = 0; k < m.inputs; ++k) {
    V w[kWidth];
    HWY_UNROLL(4)
    for (int p = 0; p < kPanels; ++p) {
      HWY_UNROLL(16)
      for (int v = 0; v < kVectors; ++v) {
        w[p * kVectors + v] = load_wide(panels + p * panel_stride + v * kLanes);
        if (kKeepWide) hn::Store(w[p * kVectors + v], d, wide + p * kSumBlock * kColumns + v * kLanes);
      }
    }
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) {
      const V a = hn::Set(d, kRepacked ? x[i] : x[i * x_stride]);
      HWY_UNROLL(32)
      for (int j = 0; j < kWidth; ++j) sums[i][j] = hn::MulAdd(a, w[j], sums[i][j]);
    }
    x += kRepacked ? kRows : 1;
    panels += kColumns;
    if (kKeepWide) wide += kColumns;
  }
  float* out = m.out;
  const int64_t out_stride = m.out_stride;
  const float* bias = m.bias;
  const bool add = m.add;
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(32)
    for (int j = 0; j < kWidth; ++j) {
      V sum = sums[i][j];
      if (add) sum = hn::Add(hn::LoadU(d, out + j * kLanes), sum);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + j * kLanes));
      hn::StoreU(sum, d, out + j * kLanes);
    }
    out += out_stride;
  }
}

template <int kRows, int kPanels, bool kRepacked, typename T>
void micro_of_rows(int64_t rows, const Micro<T>& m) {
  if constexpr (kRows * kPanels * kVectors <= kAccumulators) {
    if (rows == kRows) {
      micro<kRows, kPanels, kRepacked>(m);
      return;
    }
  }
  if constexpr (kRows > 1) micro_of_rows<kRows - 1, kPanels, kRepacked>(rows, m);
}

template <int kPanels, bool kRepacked, typename T>
void block_of_panels(const LinearTile& t, int64_t panel, int64_t first_input, int64_t inputs, float* out,
                     int64_t out_stride) {
  Micro<T> m;
  m.x_stride = t.x_stride;
  m.panels = static_cast<const T*>(t.panels) + (panel * t.in_features + first_input) * kColumns;
  m.panel_stride = t.in_features * kColumns;
  m.inputs = inputs;
  m.wide = t.wide;
  m.out_stride = out_stride;
  m.add = first_input != 0;
  m.bias = t.bias != nullptr && first_input + inputs == t.in_features ? t.bias + panel * kColumns : nullptr;
  const int64_t row0 = group_begin(t.rows, t.groups, t.group_from);
  int64_t row = row0;
  for (int64_t group = t.group_from; group < t.group_to; ++group) {
    const int64_t end = group_begin(t.rows, t.groups, group + 1);
    m.out = out + (row - row0) * out_stride;
    if constexpr (!kRepacked) {
      m.x = t.x + row * t.x_stride + first_input;
      micro_of_rows<kDirectGroupRows, kPanels, false>(end - row, m);
    } else {
      m.x = t.x + t.rows * first_input + row * inputs;
      if (sizeof(T) == 2 && group != t.group_from) {
        Micro<float> again{m.x,   0,     t.wide,  kSumBlock * kColumns, inputs, nullptr,
                           m.out, m.out_stride, m.add, m.bias};
        micro_of_rows<kGroupRows, kPanels, true>(end - row, again);
      } else {
        micro_of_rows<kGroupRows, kPanels, true>(end - row, m);
      }
    }
    row = end;
  }
}

template <bool kRepacked, typename T>
void tile_of_type(const LinearTile& t) {
  const int64_t row0 = group_begin(t.rows, t.groups, t.group_from);
  const int64_t rows = group_begin(t.rows, t.groups, t.group_to) - row0;
  const int64_t whole_panels = t.out_features / kColumns;
  const int64_t last = t.panel_to < whole_panels ? t.panel_to : whole_panels;
  const int64_t most = (rows + t.group_to - t.group_from - 1) / (t.group_to - t.group_from);
  const int64_t step = kRepacked ? kGroupPanels : direct_panels(most);
  for (int64_t k = 0; k < t.in_features; k += kSumBlock) {
    const int64_t inputs = t.in_features - k < kSumBlock ? t.in_features - k : kSumBlock;
    int64_t panel = t.panel_from;
    float* out = t.out + row0 * t.out_stride;
    if constexpr (!kRepacked) {
      for (; step >= 4 && panel + 4 <= last; panel += 4) {
        block_of_panels<4, kRepacked, T>(t, panel, k, inputs, out + panel * kColumns, t.out_stride);
      }
    }
    for (; step >= 2 && panel + 2 <= last; panel += 2) {
      block_of_panels<2, kRepacked, T>(t, panel, k, inputs, out + panel * kColumns, t.out_stride);
    }
    for (; panel < last; ++panel) {
      block_of_panels<1, kRepacked, T>(t, panel, k, inputs, out + panel * kColumns, t.out_stride);
    }
    if (panel < t.panel_to) block_of_panels<1, kRepacked, T>(t, panel, k, inputs, t.ragged, kColumns);
  }
  if (last < t.panel_to) {
    const int64_t columns = t.out_features - last * kColumns;
    for (int64_t i = 0; i < rows; ++i) {
      float* out = t.out + (row0 + i) * t.out_stride + last * kColumns;
      for (int64_t j = 0; j < columns; ++j) out[j] = t.ragged[i * kColumns + j];
    }
  }
}

template <bool kRepacked>
HWY_INLINE void tile(const LinearTile& t) {
  switch (t.dtype) {
    case DType::kF32:
      return tile_of_type<kRepacked, float>(t);
    case DType::kBF16:
      return tile_of_type<kRepacked, hwy::bfloat16_t>(t);
    case DType::kF16:
      return tile_of_type<kRepacked, hwy::float16_t>(t);
  }
}

void linear_direct(const LinearTile& t) { tile<false>(t); }
void linear_repacked(const LinearTile& t) { tile<true>(t); }

int64_t linear_group_rows() { return kGroupRows; }
int64_t linear_tile_panels(int64_t rows) {
  if (rows > kDirectRows) return kGroupPanels;
  const int64_t groups = (rows + kGroupRows - 1) / kGroupRows;
  return direct_panels((rows + groups - 1) / groups);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

LinearKernels linear_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, linear_group_rows)(), HWY_NAMESPACE::kDirectRows,
          BLOCK_ATTENTION_KERNEL(isa, linear_tile_panels), BLOCK_ATTENTION_KERNEL(isa, linear_direct),
          BLOCK_ATTENTION_KERNEL(isa, linear_repacked)};
}

}  // namespace block_attention
#endif
