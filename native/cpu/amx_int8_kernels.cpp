#include "cpu/amx_int8_kernels.hpp"

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/int8_walk-inl.hpp"

// A product is one group of inputs, whose sums have scales of their own: two tile multiplications,
// one for each half of the activations, which add to the same sums. Every product leaves the tiles
// for memory, is scaled there and added to the totals: for 16 x 16 x 64 of them the multiplier is
// busy for 2 x 16 cycles (2048 operations a cycle), while vectors convert, scale and add 16 rows of
// sums, 48 operations on two ports: 24 cycles. Those bound this kernel, so everything else is to
// take less, and the two are to go on side by side:
//
// - Two groups of rows times two panels. Four products then share two loads of weights and four of
//   activations (24 lines a product instead of 48), and what streams from the second-level cache is
//   1.5 KiB a product.
// - Products of a group of rows are added in twos and over both panels, so that totals are loaded
//   and stored half as often, and scales of rows loaded half as often: 3 loads (tile, sum, half a
//   total, half a scale) and 1.5 stores (tile, half a total) for a row of a product, where 2 and 1
//   go in a cycle: 24 cycles, too.
// - What is added are the sums of the step before, between the products of the next one. Neither
//   waits for the other, and no store has to be forwarded from a tile to a vector.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kColumns>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

constexpr int kMostPanels = 2;
constexpr int64_t kStepGroups = 2;
static_assert(amx::kRowBytes == kInt8Group && amx::kTileRows == kInt8MostRows &&
              amx::kTileBytes == kGroupBytes);

using Sums = int32_t[kMostPanels][amx::kTileRows][kColumns];

// The products of a step for one group of rows, in the order in which they are added up: of each
// group of inputs the first term, then the second where a row has one.
struct Step {
  HWY_ALIGN Sums sums[2 * kStepGroups];
  const float* input_scales[2 * kStepGroups];      // of the rows
  const uint16_t* weight_scales[2 * kStepGroups];  // of the first panel
  int64_t products = 0;
};

// Of a group of rows: [row][panel x 16].
using Totals = float[amx::kTileRows][kMostPanels * kColumns];

// Tiles 0 to 3 are sums, 4 and 5 activations, 6 and 7 weights.
template <int kRowGroup, int kPanels>
HWY_INLINE void multiply_rows(const Micro& m, int64_t group, Step& step) {
  constexpr int kSums = kRowGroup * kMostPanels;
  const RowGroup& x = m.x[kRowGroup];
  const int terms = x.rows_with_second[group] != 0 ? 2 : 1;
  for (int term = 0; term < terms; ++term) {
    const Inputs& inputs = x.terms[term];
    const int64_t product = step.products++;
    step.input_scales[product] = inputs.scales + group * x.rows;
    step.weight_scales[product] = m.scales + group * kColumns;
    const char* values = inputs.values + group * x.rows * kInt8RowBytes;
    amx::zero<kSums>();
    if constexpr (kPanels > 1) amx::zero<kSums + 1>();
    for (int64_t half = 0; half < kInt8RowBytes; half += kInt8Group) {
      // Rows of the tile behind the group's are whatever follows; nobody reads their sums.
      amx::load<4 + kRowGroup>(values + half, kInt8RowBytes);
      amx::multiply_int8<kSums, 4 + kRowGroup, 6>();
      if constexpr (kPanels > 1) amx::multiply_int8<kSums + 1, 4 + kRowGroup, 7>();
    }
    amx::store<kSums>(step.sums[product][0]);
    if constexpr (kPanels > 1) amx::store<kSums + 1>(step.sums[product][1]);
  }
}

template <int kPanels>
HWY_INLINE void multiply_group(const Micro& m, int64_t group, Step* steps) {
  const uint8_t* values = m.values + group * kGroupBytes;
  amx::load<6>(values);
  if constexpr (kPanels > 1) amx::load<7>(values + m.panel_groups * kGroupBytes);
  multiply_rows<0, kPanels>(m, group, steps[0]);
  if (m.row_groups > 1) multiply_rows<1, kPanels>(m, group, steps[1]);
}

template <int kPanels, int kProducts>
HWY_INLINE void add_products(const Micro& m, int64_t rows, const Step& step, int64_t first,
                             Totals& totals) {
  const D d;
  const DI di;
  const hn::Rebind<hwy::bfloat16_t, D> halves;
  const int64_t panel_scales = m.panel_groups * kColumns;
  V scales[kProducts][kPanels];
  for (int i = 0; i < kProducts; ++i) {
    for (int j = 0; j < kPanels; ++j) {
      scales[i][j] = hn::PromoteTo(
          d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(
                                   step.weight_scales[first + i] + j * panel_scales)));
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    V total[kPanels];
    HWY_UNROLL(2)
    for (int j = 0; j < kPanels; ++j) total[j] = hn::Load(d, totals[row] + j * kColumns);
    HWY_UNROLL(2)
    for (int i = 0; i < kProducts; ++i) {
      const V scale = hn::Set(d, step.input_scales[first + i][row]);
      HWY_UNROLL(2)
      for (int j = 0; j < kPanels; ++j) {
        const V sum = hn::Mul(hn::ConvertTo(d, hn::Load(di, step.sums[first + i][j][row])), scale);
        total[j] = hn::MulAdd(sum, scales[i][j], total[j]);
      }
    }
    HWY_UNROLL(2)
    for (int j = 0; j < kPanels; ++j) hn::Store(total[j], d, totals[row] + j * kColumns);
  }
}

// Adds up what a step left, and empties it.
template <int kPanels>
HWY_INLINE void add_step(const Micro& m, int64_t rows, Step& step, Totals& totals) {
  int64_t first = 0;
  for (; first + 1 < step.products; first += 2)
    add_products<kPanels, 2>(m, rows, step, first, totals);
  if (first < step.products) add_products<kPanels, 1>(m, rows, step, first, totals);
  step.products = 0;
}

template <int kPanels, typename Body>
HWY_INLINE void for_each_vector(const Micro& m, const Body& body) {
  for (int64_t i = 0; i < m.row_groups; ++i) {
    for (int64_t row = 0; row < m.x[i].rows; ++row) {
      for (int64_t column = 0; column < kPanels * kColumns; column += kColumns)
        body(i, row, column, m.x[i].out + row * m.out_stride + column);
    }
  }
}

template <int kPanels>
HWY_INLINE void prefetch_group(const Micro& m, const uint8_t*& ahead) {
  const int64_t bytes = m.ahead_step * kGroupBytes / 64;
  for (int panel = 0; panel < kPanels; ++panel) {
    for (int64_t i = 0; i < bytes; i += 64)
      __builtin_prefetch(ahead + panel * m.panel_groups * kGroupBytes + i, 0, 3);
  }
  ahead += bytes;
}

struct AmxKernel {
  static constexpr Int8Dot kDot = Int8Dot::kAmx;
  static constexpr int64_t kRowGroups = 2;
  static_assert(kRowGroups <= kMostRowGroups);
  static_assert(kRowGroups <= kStepGroups, "between two products one group of rows is added up");

  static void run(int64_t panels, const Micro& m) {
    if (panels > 1) return run_panels<2>(m);
    return run_panels<1>(m);
  }

 private:
  template <int kPanels>
  static HWY_NOINLINE void run_panels(const Micro& m) {
    const D d;
    HWY_ALIGN Totals totals[kRowGroups];
    Step steps[2][kRowGroups];
    for_each_vector<kPanels>(m, [&](int64_t i, int64_t row, int64_t column, float* out) HWY_ATTR {
      hn::Store(m.add ? hn::LoadU(d, out) : hn::Zero(d), d, totals[i][row] + column);
    });
    const uint8_t* ahead = m.ahead;
    Step* now = steps[0];
    Step* before = steps[1];
    for (int64_t first = 0; first < m.groups; first += kStepGroups) {
      for (int64_t i = 0; i < kStepGroups; ++i) {
        const int64_t group = first + i;
        if (group < m.groups) {
          if (group == m.ahead_turn) ahead = m.ahead_then;
          multiply_group<kPanels>(m, group, now);
          prefetch_group<kPanels>(m, ahead);
        }
        if (i < m.row_groups) add_step<kPanels>(m, m.x[i].rows, before[i], totals[i]);
      }
      Step* done = before;
      before = now;
      now = done;
    }
    for (int64_t i = 0; i < m.row_groups; ++i)
      add_step<kPanels>(m, m.x[i].rows, before[i], totals[i]);
    for_each_vector<kPanels>(m, [&](int64_t i, int64_t row, int64_t column, float* out) HWY_ATTR {
      // Adding +0 where there is no bias, as the vector kernel does.
      const V bias = m.bias != nullptr ? hn::LoadU(d, m.bias + column) : hn::Zero(d);
      hn::StoreU(hn::Add(hn::Load(d, totals[i][row] + column), bias), d, out);
    });
  }
};

}  // namespace

void amx_int8_tile(const Int8Tile& t) {
  const amx::Tiles tiles;
  walk<AmxKernel>(t, kMostPanels);
}

int64_t amx_int8_tile_panels(int64_t) { return kMostPanels; }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE && defined(__x86_64__)
namespace block_attention {

Int8Kernels amx_int8_kernels() {
  return {Int8Dot::kAmx, amx::kTileRows, &N_AVX3::amx_int8_tile_panels, &N_AVX3::amx_int8_tile};
}

}  // namespace block_attention
#endif
