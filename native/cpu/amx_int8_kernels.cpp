#include "cpu/amx_int8_kernels.hpp"

#include <bit>

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/amx_int8_sums-inl.hpp"

// A product is one group of inputs, whose sums have scales of their own: two tile multiplications,
// one for each half of the activations, which add to the same sums. Every product leaves the tiles
// for memory, is scaled there and added to the totals. For 16 x 16 x 64 of them the multiplier is
// busy for 10 ns, the vectors for 11 to 14, and a tile that is stored right behind its products
// holds up those that follow for 5 more. Tiles and vectors share their loads, and most of a port,
// so that little of it goes on side by side (33 ns in all); nothing waits for a result:
//
// - Products of two groups of rows take turns, over two panels each. What is stored are the sums of
//   the product before, and what is added are those of the one before that, a few rows between two
//   multiplications, so that no store has to be forwarded to a vector.
// - Both panels share a load of the activations, and both groups of rows one of the weights: 1.5
//   KiB a product.
// - Few rows have a second term, and most tiles one of them: those of a whole part are multiplied
//   together, before its first terms, and added row by row where the order of sums has them.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kGroupBytes = kInt8Group * kColumns;
static_assert(amx::kRowBytes == kInt8Group && amx::kTileRows == kInt8MostRows &&
              amx::kTileBytes == kGroupBytes);
// A single pass waits for memory itself, and so looks so many groups ahead. Several share out the
// next panels.
constexpr int64_t kAheadGroups = 2;
constexpr int64_t kGroupLines = kGroupBytes / amx::kRowBytes;

// One or two groups of rows, of a block of inputs, times one or two panels.
struct Pass {
  int64_t groups;  // of the block
  const uint8_t* values[kPanels];
  const uint16_t* scales[kPanels];
  PassRows x[kRowGroups];
  Destination to;
  // What is asked for meanwhile of as many panels, how many lines of each a group, and behind which
  // group of others.
  const uint8_t* ahead[kPanels];
  int64_t ahead_lines;
  int64_t ahead_turn;
  const uint8_t* ahead_then[kPanels];
};

// Products on their way. In turns they are in one of two slots: tiles 0 and 1 are sums of the
// first, 2 and 3 of the second; 4 and 5 are their activations, 6 and 7 the weights.
class Products {
 public:
  explicit Products(AmxInt8Scratch& scratch) : scratch_(scratch) {}

  // One or two groups of rows, times one or two panels.
  template <int kGroups, int kWide>
  HWY_NOINLINE void multiply(const Pass& p) {
    for (int k = 0; k < kGroups; ++k) begin_totals<kWide>(p.x[k], p.to);
    const uint8_t* ahead[kPanels] = {p.ahead[0], p.ahead[1]};
    for (int64_t group = 0; group < p.groups; ++group) {
      load_weights<kWide>(p, group);
      ask<kWide>(p, group, ahead);
      for (int k = 0; k < kGroups; ++k) {
        const PassRows& x = p.x[k];
        Product product{};
        product.input_scales = x.scales + group * x.rows;
        for (int j = 0; j < kWide; ++j) product.weight_scales[j] = p.scales[j] + group * kColumns;
        product.totals = x.totals;
        product.rows = x.rows;
        product.with_second = x.with_second[group];
        product.second = x.seconds_begin[group];
        next<kWide>(product, x.values + group * x.rows * kInt8RowBytes);
      }
    }
    slot_ == 0 ? finish_in<0, kWide>() : finish_in<1, kWide>();
    for (int k = 0; k < kGroups; ++k) send_totals<kWide>(p.x[k], p.to);
  }

  // Sums of the second terms.
  template <int kWide>
  HWY_NOINLINE void multiply_seconds(const Pass& p) {
    int64_t row = 0;
    for (int64_t group = 0; group < p.groups; ++group) {
      const int64_t end = scratch_.seconds_end[group];
      if (row < end) load_weights<kWide>(p, group);
      for (; row < end; row += kInt8MostRows) {
        int32_t* sums = scratch_.second_sums + row * kTotalStride;
        constexpr int64_t kStride = kTotalStride * int64_t{sizeof(int32_t)};
        const char* values = scratch_.second_values + row * kInt8RowBytes;
        zero<0, kWide>();
        for (int half = 0; half < 2; ++half) {
          load_half<0>(values + half * kInt8Group);
          multiply_half<0, kWide>();
        }
        amx::store<0>(sums, kStride);
        if constexpr (kWide > 1) amx::store<1>(sums + kColumns, kStride);
      }
      row = end;
    }
  }

 private:
  static constexpr int kSlots = 2;
  static constexpr int64_t kRowsAtOnce = amx::kTileRows / 4;

  template <int kWide>
  static HWY_INLINE void load_weights(const Pass& p, int64_t group) {
    amx::load<6>(p.values[0] + group * kGroupBytes);
    if constexpr (kWide > 1) amx::load<7>(p.values[1] + group * kGroupBytes);
  }

  template <int kWide>
  static HWY_INLINE void ask(const Pass& p, int64_t group, const uint8_t* (&ahead)[kPanels]) {
    for (int j = 0; j < kWide; ++j) {
      if (group == p.ahead_turn) ahead[j] = p.ahead_then[j];
      for (int64_t i = 0; i < p.ahead_lines; ++i) {
        __builtin_prefetch(ahead[j], 0, 3);
        ahead[j] += amx::kRowBytes;
      }
    }
  }

  template <int kSlot, int kWide>
  static HWY_INLINE void zero() {
    amx::zero<kSlot * kPanels>();
    if constexpr (kWide > 1) amx::zero<kSlot * kPanels + 1>();
  }

  // Half of the activations of 16 rows. Rows behind those of the group are whatever follows; nobody
  // reads their sums.
  template <int kSlot>
  static HWY_INLINE void load_half(const char* values) {
    amx::load<4 + kSlot>(values, kInt8RowBytes);
  }

  template <int kSlot, int kWide>
  static HWY_INLINE void multiply_half() {
    amx::multiply_int8<kSlot * kPanels, 4 + kSlot, 6>();
    if constexpr (kWide > 1) amx::multiply_int8<kSlot * kPanels + 1, 4 + kSlot, 7>();
  }

  template <int kWide>
  HWY_INLINE void next(const Product& product, const char* values) {
    slot_ == 0 ? next_in<0, kWide>(product, values) : next_in<1, kWide>(product, values);
    slot_ = 1 - slot_;
  }

  template <int kSlot, int kWide>
  HWY_INLINE void next_in(const Product& product, const char* values) {
    Adding<kWide> adding(products_[kSlot], sums_[kSlot][0]);
    zero<kSlot, kWide>();
    HWY_UNROLL(2)
    for (int half = 0; half < 2; ++half) {
      load_half<kSlot>(values + half * kInt8Group);
      adding.add(kRowsAtOnce);
      multiply_half<kSlot, kWide>();
      adding.add(kRowsAtOnce);
    }
    adding.add_seconds(scratch_);
    products_[kSlot] = product;
    store<1 - kSlot, kWide>();
  }

  // Adds what is left.
  template <int kSlot, int kWide>
  void finish_in() {
    store<1 - kSlot, kWide>();
    for (int slot : {kSlot, 1 - kSlot}) {
      Adding<kWide> adding(products_[slot], sums_[slot][0]);
      adding.add(amx::kTileRows);
      adding.add_seconds(scratch_);
      products_[slot] = {};
    }
  }

  template <int kSlot, int kWide>
  HWY_INLINE void store() {
    amx::store<kSlot * kPanels>(sums_[kSlot][0]);
    if constexpr (kWide > 1) amx::store<kSlot * kPanels + 1>(sums_[kSlot][1]);
  }

  AmxInt8Scratch& scratch_;
  HWY_ALIGN int32_t sums_[kSlots][kPanels][kTileSums];
  Product products_[kSlots] = {};
  int slot_ = 0;
};

// Panels that are multiplied at once: `width` of them, `apart` from each other.
struct Panels {
  int64_t first;
  int64_t apart;
  int64_t width;
};

// Groups of inputs.
struct Block {
  int64_t first;
  int64_t groups;
};

// What a worker computes of the output.
class Part {
 public:
  explicit Part(const Int8Tile& t)
      : t_(t),
        scratch_(*t.amx),
        groups_(int8_groups(t.in_features)),
        whole_(t.out_features / kColumns),
        first_row_(group_begin(t.rows, t.row_groups, t.part.row_group_from)),
        products_(scratch_) {}

  void compute() {
    compute_rows(t_.part.row_group_from, t_.part.row_group_to);
    if (t_.stream) hwy::FlushStream();
    if (whole_ >= t_.part.panel_from && whole_ < t_.part.panel_to) copy_ragged();
  }

 private:
  // Of so many groups of rows that there is room for their second terms.
  void compute_rows(int64_t from, int64_t to) {
    for (int64_t first = 0; first < groups_; first += kAmxInt8BlockGroups) {
      if (count_seconds(from, to, block_at(first)) <= kAmxSeconds) continue;
      const int64_t middle = (from + to) / 2;
      compute_rows(from, middle);
      return compute_rows(middle, to);
    }
    for (int64_t first = 0; first < groups_; first += kAmxInt8BlockGroups) {
      const Block block = block_at(first);
      const bool seconds = gather_seconds(from, to, block);
      for (int64_t panel = t_.part.panel_from; panel < t_.part.panel_to;) {
        const Panels at = panels_at(panel);
        const int64_t next = panel + (t_.half > 0 ? 1 : at.width);
        const uint8_t* then = values_at(next, first);
        if (next >= t_.part.panel_to) {
          const bool last = first + block.groups == groups_;
          then = last ? values_at(t_.part.next_panel, 0)
                      : values_at(t_.part.panel_from, first + block.groups);
        }
        at.width > 1 ? compute_panels<2>(at, block, from, to, seconds, then)
                     : compute_panels<1>(at, block, from, to, seconds, then);
        panel = next;
      }
    }
  }

  Block block_at(int64_t first) const {
    const int64_t left = groups_ - first;
    return {first, left < kAmxInt8BlockGroups ? left : kAmxInt8BlockGroups};
  }

  // The last panel goes alone if it is ragged.
  Panels panels_at(int64_t panel) const {
    if (t_.half > 0) return {panel, t_.half, kPanels};
    const int64_t end = t_.part.panel_to < whole_ ? t_.part.panel_to : whole_;
    return {panel, 1, panel + kPanels <= end ? kPanels : 1};
  }

  const uint8_t* values_at(int64_t panel, int64_t group) const {
    return t_.values + (panel * groups_ + group) * kGroupBytes;
  }

  int64_t row_of(int64_t row_group) const { return group_begin(t_.rows, t_.row_groups, row_group); }

  int64_t count_seconds(int64_t from, int64_t to, const Block& block) const {
    int64_t count = 0;
    for (int64_t i = from; i < to; ++i) {
      const uint16_t* rows = t_.x.rows_with_second + i * groups_ + block.first;
      for (int64_t group = 0; group < block.groups; ++group) count += std::popcount(rows[group]);
    }
    return count;
  }

  // Gives whether there are any.
  bool gather_seconds(int64_t from, int64_t to, const Block& block) {
    const Int8Rows& second = t_.x.second;
    int32_t count = 0;
    for (int64_t i = 0; i < block.groups; ++i) {
      const int64_t group = block.first + i;
      for (int64_t k = from; k < to; ++k) {
        scratch_.seconds_begin[k - from][i] = count;
        const int64_t first = row_of(k);
        const int64_t at = first * groups_ + group * (row_of(k + 1) - first);
        uint32_t rows = t_.x.rows_with_second[k * groups_ + group];
        for (; rows != 0; rows &= rows - 1) {
          const int64_t from_row = at + std::countr_zero(rows);
          hwy::CopyBytes<kInt8RowBytes>(second.values + from_row * kInt8RowBytes,
                                        scratch_.second_values + count * kInt8RowBytes);
          scratch_.second_scales[count++] = second.scales[from_row];
        }
      }
      scratch_.seconds_end[i] = count;
    }
    return count > 0;
  }

  // `then`: the weights that follow.
  template <int kWide>
  void compute_panels(const Panels& at, const Block& block, int64_t from, int64_t to, bool seconds,
                      const uint8_t* then) {
    Pass p{};
    p.groups = block.groups;
    const int64_t passes = (to - from + kRowGroups - 1) / kRowGroups;
    const bool alone = passes == 1;  // no other pass reads these panels
    p.ahead_lines = (kGroupLines + passes - 1) / passes;
    const bool last_block = block.first + block.groups == groups_;
    p.ahead_turn = alone ? (block.groups > kAheadGroups ? block.groups - kAheadGroups : 0) : -1;
    for (int64_t j = 0; j < kWide; ++j) {
      const int64_t panel = at.first + j * at.apart;
      p.values[j] = values_at(panel, block.first);
      p.scales[j] = t_.scales + (panel * groups_ + block.first) * kColumns;
      p.ahead_then[j] = then + j * at.apart * groups_ * kGroupBytes;
      p.to.bias[j] = last_block && t_.bias != nullptr ? t_.bias + panel * kColumns : nullptr;
    }
    p.to.first_block = block.first == 0;
    p.to.last_block = last_block;
    p.to.gated = t_.half > 0;
    p.to.stream = t_.stream && at.first != whole_;
    if (seconds) products_.multiply_seconds<kWide>(p);
    for (int64_t pass = 0; pass < passes; ++pass) {
      const int64_t first = from + pass * kRowGroups;
      const int64_t used = to - first < kRowGroups ? to - first : kRowGroups;
      for (int64_t i = 0; i < used; ++i)
        p.x[i] = rows_of(first + i, totals_[i], from, block, at, p.to);
      const int64_t line = pass * p.ahead_lines * block.groups;
      for (int64_t j = 0; j < kWide; ++j) {
        p.ahead[j] = alone ? p.values[j] + kAheadGroups * kGroupBytes
                           : p.ahead_then[j] + line * amx::kRowBytes;
      }
      used > 1 ? products_.multiply<2, kWide>(p) : products_.multiply<1, kWide>(p);
    }
  }

  PassRows rows_of(int64_t row_group, float* totals, int64_t from, const Block& block,
                   const Panels& at, Destination& to) {
    const int64_t row = row_of(row_group);
    const int64_t rows = row_of(row_group + 1) - row;
    const int64_t inputs = row * groups_ + block.first * rows;
    PassRows x{};
    x.rows = rows;
    x.values = t_.x.first.values + inputs * kInt8RowBytes;
    x.scales = t_.x.first.scales + inputs;
    x.with_second = t_.x.rows_with_second + row_group * groups_ + block.first;
    x.seconds_begin = scratch_.seconds_begin[row_group - from];
    x.totals = totals;
    to.out_stride = t_.out_stride;
    if (at.first == whole_) {
      x.out = t_.ragged + (row - first_row_) * kColumns;
      to.out_stride = kColumns;
    } else {
      x.out = t_.out + row * t_.out_stride + at.first * kColumns;
    }
    x.before = x.out;
    to.before_stride = to.out_stride;
    if (t_.half > 0) {
      to.before_stride = kAmxInt8PartPanels * kTotalStride;
      x.before = scratch_.blocks + (row - first_row_) * to.before_stride +
                 (at.first - t_.part.panel_from) * kTotalStride;
    }
    return x;
  }

  void copy_ragged() const {
    copy_ragged_panel(t_.ragged, row_of(t_.part.row_group_to) - first_row_, whole_ * kColumns,
                      t_.out_features, t_.out + first_row_ * t_.out_stride, t_.out_stride);
  }

  const Int8Tile& t_;
  AmxInt8Scratch& scratch_;
  const int64_t groups_;
  const int64_t whole_;
  const int64_t first_row_;
  HWY_ALIGN float totals_[kRowGroups][amx::kTileRows * kTotalStride];
  Products products_;
};

}  // namespace

void amx_int8_tile(const Int8Tile& t) {
  const amx::Tiles tiles;
  Part(t).compute();
}

int64_t amx_int8_tile_panels(int64_t) { return kPanels; }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE && defined(__x86_64__)
namespace block_attention {

Int8Kernels amx_int8_kernels() {
  return {Int8Dot::kAmx, amx::kTileRows, &N_AVX3::amx_int8_tile_panels, &N_AVX3::amx_int8_tile,
          true};
}

}  // namespace block_attention
#endif
