#include "cpu/amx_int8_kernels.hpp"

#include <bit>

#include "cpu/amx_tiles.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/amx_int8_products-inl.hpp"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {

// A single pass waits for memory itself, and so looks so many groups ahead. Several share out the
// next panels.
constexpr int64_t kAheadGroups = 2;
// Where totals begin.
HWY_ALIGN constexpr float kZeros[kTotalStride] = {};

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
  bool last;
};

// What a worker computes of the output.
class Part {
 public:
  explicit Part(const Int8Tile& t)
      : t_(t),
        scratch_(*t.amx),
        groups_(int8_groups(t.in_features)),
        whole_(t.out_features / kColumns),
        first_row_(row_of(t.part.row_group_from)),
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
          then = block.last ? values_at(t_.part.next_panel, 0)
                            : values_at(t_.part.panel_from, first + block.groups);
        }
        if (at.width > 1) {
          compute_panels<2>(at, block, from, to, seconds, then);
          // The next panels may be as wide and have no second terms, or not.
          if (seconds || next >= t_.part.panel_to || panels_at(next).width == 1)
            products_.drain<2>();
        } else {
          compute_panels<1>(at, block, from, to, seconds, then);
          products_.drain<1>();
        }
        panel = next;
      }
    }
  }

  Block block_at(int64_t first) const {
    const int64_t left = groups_ - first;
    const bool last = left <= kAmxInt8BlockGroups;
    return {first, last ? left : kAmxInt8BlockGroups, last};
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

  // Gives whether there are any. A worker's parts are mostly of the same rows, one after the other:
  // with one block of inputs they are gathered once for all of them.
  bool gather_seconds(int64_t from, int64_t to, const Block& block) {
    auto& of = scratch_.gathered;
    if (of.call != t_.call || of.from != from || of.to != to || of.first_group != block.first) {
      of = {t_.call, from, to, block.first};
      int32_t count = 0;
      for (int64_t i = 0; i < block.groups; ++i) {
        for (int64_t k = from; k < to; ++k) {
          scratch_.seconds_begin[k - from][i] = count;
          const uint32_t rows = t_.x.rows_with_second[k * groups_ + block.first + i];
          if (rows != 0) count = gather_rows(k, block.first + i, rows, count);
        }
        scratch_.seconds_end[i] = count;
      }
    }
    return scratch_.seconds_end[block.groups - 1] > 0;
  }

  // Those of a group of rows and of inputs, behind `count` others. Gives how many there are then.
  int32_t gather_rows(int64_t row_group, int64_t group, uint32_t rows, int32_t count) {
    const Int8Rows& second = t_.x.second;
    const int64_t first = row_of(row_group);
    const int64_t at = first * groups_ + group * (row_of(row_group + 1) - first);
    for (; rows != 0; rows &= rows - 1) {
      const int64_t from = at + std::countr_zero(rows);
      hwy::CopyBytes<kInt8RowBytes>(second.values + from * kInt8RowBytes,
                                    scratch_.second_values + count * kInt8RowBytes);
      scratch_.second_scales[count++] = second.scales[from];
    }
    return count;
  }

  // `then`: the weights that follow.
  template <int kWide>
  void compute_panels(const Panels& at, const Block& block, int64_t from, int64_t to, bool seconds,
                      const uint8_t* then) {
    const int64_t passes = (to - from + kRowGroups - 1) / kRowGroups;
    const Pass of_all = pass_of<kWide>(at, block, passes, then);
    if (seconds) products_.multiply_seconds<kWide>(of_all);
    for (int64_t pass = 0; pass < passes; ++pass) {
      Pass& p = products_.next_pass();
      p = of_all;
      const int64_t first = from + pass * kRowGroups;
      const int64_t used = to - first < kRowGroups ? to - first : kRowGroups;
      for (int64_t i = 0; i < used; ++i) {
        p.x[i] = rows_of(first + i, from, block, p.to);
        p.x[i].totals = products_.totals(i);
      }
      // A single pass looks ahead in its own panels.
      const int64_t line = pass * p.ahead_lines * block.groups;
      for (int64_t j = 0; j < kWide; ++j) {
        p.ahead[j] = passes == 1 ? p.values[j] + kAheadGroups * kGroupBytes
                                 : p.ahead_then[j] + line * amx::kRowBytes;
      }
      used > 1 ? products_.multiply<2, kWide>() : products_.multiply<1, kWide>();
    }
  }

  // What is the same for all passes over these panels.
  template <int kWide>
  Pass pass_of(const Panels& at, const Block& block, int64_t passes, const uint8_t* then) const {
    Pass p{};
    p.groups = block.groups;
    // What is not gated costs little, and is written faster at once.
    p.leaving_rows =
        t_.half > 0 ? (amx::kTileRows + block.groups - 1) / block.groups : amx::kTileRows;
    p.ahead_lines = (kGroupLines + passes - 1) / passes;
    p.ahead_turn = -1;
    if (passes == 1) p.ahead_turn = block.groups > kAheadGroups ? block.groups - kAheadGroups : 0;
    p.to = destination_of(at, block);
    for (int64_t j = 0; j < kWide; ++j) {
      const int64_t panel = at.first + j * at.apart;
      p.values[j] = values_at(panel, block.first);
      p.scales[j] = t_.scales + (panel * groups_ + block.first) * kColumns;
      p.ahead_then[j] = then + j * at.apart * groups_ * kGroupBytes;
      if (block.last && t_.bias != nullptr) p.to.bias[j] = t_.bias + panel * kColumns;
    }
    return p;
  }

  Destination destination_of(const Panels& at, const Block& block) const {
    Destination to{};
    to.end = t_.out + first_row_ * t_.out_stride + at.first * kColumns;
    to.end_stride = t_.out_stride;
    if (at.first == whole_) {
      to.end = t_.ragged;
      to.end_stride = kColumns;
    }
    float* between = to.end;
    int64_t between_stride = to.end_stride;
    if (t_.half > 0) {
      between = scratch_.blocks + (at.first - t_.part.panel_from) * kTotalStride;
      between_stride = kAmxInt8PartPanels * kTotalStride;
    }
    to.begin = block.first == 0 ? kZeros : between;
    to.begin_stride = block.first == 0 ? 0 : between_stride;
    if (block.last) {
      to.gated = t_.half > 0;
      to.stream = t_.stream && at.first != whole_;
    } else {
      to.end = between;
      to.end_stride = between_stride;
    }
    return to;
  }

  PassRows rows_of(int64_t row_group, int64_t from, const Block& block,
                   const Destination& to) const {
    const int64_t row = row_of(row_group);
    const int64_t rows = row_of(row_group + 1) - row;
    const int64_t inputs = row * groups_ + block.first * rows;
    PassRows x{};
    x.rows = rows;
    x.values = t_.x.first.values + inputs * kInt8RowBytes;
    x.scales = t_.x.first.scales + inputs;
    x.with_second = t_.x.rows_with_second + row_group * groups_ + block.first;
    x.seconds_begin = scratch_.seconds_begin[row_group - from];
    x.begin = to.begin + (row - first_row_) * to.begin_stride;
    x.end = to.end + (row - first_row_) * to.end_stride;
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
  return {Int8Dot::kAmx,          amx::kTileRows, &N_AVX3::amx_int8_tile_panels,
          &N_AVX3::amx_int8_tile, true,           N_AVX3::kRowGroups};
}

}  // namespace block_attention
#endif
