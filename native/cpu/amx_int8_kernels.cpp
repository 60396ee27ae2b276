#include "cpu/amx_int8_kernels.hpp"

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/int8_walk-inl.hpp"

// A product is one group of inputs, whose sums have scales of their own: two tile multiplications,
// one for each half of the activations, which add to the same sums. Every product leaves the tiles
// for memory, is scaled there and added to the totals. For 16 x 16 x 64 of them the multiplier is
// busy for 14 ns (measured, with tiles that change), the vectors for 12, and a tile that is stored
// right behind its products holds up those that follow for 5 more. So all three go on side by side:
//
// - Products of two groups of rows take turns, over two panels each. What is stored are the sums of
//   the product before, and what is added are those of the one before that, a few rows between two
//   multiplications. Nobody waits for a result, and no store has to be forwarded to a vector.
// - Both panels share a load of the activations, and both groups of rows one of the weights: 1.5
//   KiB a product, from the second-level cache.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kColumns>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

constexpr int kMostPanels = 2;
static_assert(amx::kRowBytes == kInt8Group && amx::kTileRows == kInt8MostRows &&
              amx::kTileBytes == kGroupBytes);

// Of a group of rows: [row][panel x 16].
using Totals = float[amx::kTileRows][kMostPanels * kColumns];

// A term of the activations of a group of rows and of inputs, times one or two panels.
struct Product {
  const char* values;
  const float* input_scales;      // of the rows
  const uint16_t* weight_scales;  // of the first panel
  float* totals;
  int64_t rows;
};

// Products on their way: in turns they are in one of two slots, of tiles and of memory.
template <int kPanels>
class Pipeline {
 public:
  // Panels' scales lie `panel_scales` apart.
  explicit Pipeline(int64_t panel_scales) : panel_scales_(panel_scales) {}

  // The weights are in tiles 6 and 7.
  HWY_INLINE void multiply(const Product& product) {
    slot_ == 0 ? multiply_in<0>(product) : multiply_in<1>(product);
    slot_ = 1 - slot_;
  }

  // Adds what is left.
  void finish() { slot_ == 0 ? finish_in<0>() : finish_in<1>(); }

 private:
  static constexpr int64_t kRowsAtOnce = amx::kTileRows / 4;

  // Tiles 0 and 1 are sums of the first slot, 2 and 3 of the second; 4 and 5 are their activations.
  template <int kSlot>
  HWY_INLINE void multiply_in(const Product& product) {
    constexpr int kSums = kSlot * kMostPanels;
    Adding adding(*this, kSlot);
    amx::zero<kSums>();
    if constexpr (kPanels > 1) amx::zero<kSums + 1>();
    for (int64_t half = 0; half < kInt8RowBytes; half += kInt8Group) {
      // Rows of the tile behind the group's are whatever follows; nobody reads their sums.
      amx::load<4 + kSlot>(product.values + half, kInt8RowBytes);
      adding.add(kRowsAtOnce);
      amx::multiply_int8<kSums, 4 + kSlot, 6>();
      if constexpr (kPanels > 1) amx::multiply_int8<kSums + 1, 4 + kSlot, 7>();
      adding.add(kRowsAtOnce);
    }
    products_[kSlot] = product;
    store<1 - kSlot>();
  }

  template <int kSlot>
  void finish_in() {
    Adding(*this, kSlot).add(amx::kTileRows);
    store<1 - kSlot>();
    Adding(*this, 1 - kSlot).add(amx::kTileRows);
  }

  template <int kSlot>
  HWY_INLINE void store() {
    amx::store<kSlot * kMostPanels>(sums_[kSlot][0]);
    if constexpr (kPanels > 1) amx::store<kSlot * kMostPanels + 1>(sums_[kSlot][1]);
  }

  // Adds the sums that are stored in a slot to their totals, row by row.
  class Adding {
   public:
    HWY_INLINE Adding(const Pipeline& pipeline, int slot) : sums_(pipeline.sums_[slot][0][0]) {
      const D d;
      const hn::Rebind<hwy::bfloat16_t, D> halves;
      const Product& product = pipeline.products_[slot];
      input_scales_ = product.input_scales;
      totals_ = product.totals;
      rows_ = product.rows;
      for (int j = 0; j < kPanels && rows_ > 0; ++j) {
        const uint16_t* scales = product.weight_scales + j * pipeline.panel_scales_;
        scales_[j] =
            hn::PromoteTo(d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(scales)));
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
        for (int j = 0; j < kPanels; ++j) {
          const auto sums = hn::Load(di, sums_ + j * amx::kTileRows * kColumns);
          const V sum = hn::Mul(hn::ConvertTo(d, sums), scale);
          float* total = totals_ + j * kColumns;
          hn::Store(hn::MulAdd(sum, scales_[j], hn::Load(d, total)), d, total);
        }
        sums_ += kColumns;
        totals_ += kMostPanels * kColumns;
      }
    }

   private:
    const int32_t* HWY_RESTRICT sums_;
    const float* HWY_RESTRICT input_scales_;
    float* HWY_RESTRICT totals_;
    int64_t rows_;
    V scales_[kPanels];
  };

  HWY_ALIGN int32_t sums_[2][kMostPanels][amx::kTileRows][kColumns];
  Product products_[2] = {};
  int slot_ = 0;
  const int64_t panel_scales_;
};

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

  static void run(int64_t panels, const Micro& m) {
    if (panels > 1) return run_panels<2>(m);
    return run_panels<1>(m);
  }

 private:
  template <int kPanels>
  static HWY_NOINLINE void run_panels(const Micro& m) {
    const D d;
    HWY_ALIGN Totals totals[kRowGroups];
    Pipeline<kPanels> pipeline(m.panel_groups * kColumns);
    for_each_vector<kPanels>(m, [&](int64_t i, int64_t row, int64_t column, float* out) HWY_ATTR {
      hn::Store(m.add ? hn::LoadU(d, out) : hn::Zero(d), d, totals[i][row] + column);
    });
    const uint8_t* ahead = m.ahead;
    for (int64_t group = 0; group < m.groups; ++group) {
      const uint8_t* values = m.values + group * kGroupBytes;
      amx::load<6>(values);
      if constexpr (kPanels > 1) amx::load<7>(values + m.panel_groups * kGroupBytes);
      if (group == m.ahead_turn) ahead = m.ahead_then;
      prefetch_group<kPanels>(m, ahead);
      for (int64_t i = 0; i < m.row_groups; ++i) {
        const RowGroup& x = m.x[i];
        const int terms = x.rows_with_second[group] != 0 ? 2 : 1;
        for (int term = 0; term < terms; ++term) {
          pipeline.multiply({x.terms[term].values + group * x.rows * kInt8RowBytes,
                             x.terms[term].scales + group * x.rows, m.scales + group * kColumns,
                             totals[i][0], x.rows});
        }
      }
    }
    pipeline.finish();
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
