#include "cpu/int8_kernels.hpp"

#include <bit>

#include "cpu/amx_int8_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/int8_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "cpu/int8_walk-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kColumns>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
constexpr int kVectors = static_cast<int>(kColumns) / kLanes;  // per panel

// Panels computed at once for groups of `rows` rows. One row, which waits for memory, reads one
// after the other: sums of groups are independent enough, and memory keeps up best with one stream.
template <class Dot>
constexpr int tile_width(int64_t rows) {
  if (rows == 1) return 1;
  if (rows * 4 * kVectors <= Dot::kSums) return 4;
  return rows * 2 * kVectors <= Dot::kSums ? 2 : 1;
}

// Four bytes to every lane.
HWY_INLINE VI broadcast(const char* from) {
  int32_t four;
  hwy::CopyBytes<4>(from, &four);
  return hn::Set(DI(), four);
}

// How bytes of weights are loaded, and multiplied by activations: sums[lane] += the products of the
// lane's feature with all dot_inputs inputs, whose activations are in every lane of `inputs`.
struct Pairs {
  static constexpr Int8Dot kDot = Int8Dot::kPairs;
  // The most rows of a group, and the vectors of sums that registers hold beside what they are made
  // of.
  static constexpr int kGroupRows = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 ? 6 : 4;
  static constexpr int kSums = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 ? 12 : 16;
  static constexpr int kInputParts = 1;
  // Two words of 16 bits in every lane.
  static HWY_INLINE VI load(const uint8_t* from) {
#if HWY_TARGET == HWY_SCALAR
    const int32_t second = static_cast<int8_t>(from[1]);
    return hn::Set(DI(), (second * 65536) | (static_cast<int8_t>(from[0]) & 0xffff));
#else
    const hn::Repartition<int16_t, DI> words;
    const hn::Rebind<int8_t, decltype(words)> bytes;
    return hn::BitCast(
        DI(), hn::PromoteTo(words, hn::LoadU(bytes, reinterpret_cast<const int8_t*>(from))));
#endif
  }
  static HWY_INLINE void add(VI& sums, VI weights, const VI (&inputs)[1]) {
#if HWY_TARGET == HWY_AVX3
    sums.raw = _mm512_add_epi32(sums.raw, _mm512_madd_epi16(weights.raw, inputs[0].raw));
#elif HWY_TARGET == HWY_AVX2
    // As assembly, which keeps the two together: left to itself, g++ multiplies for all sums before
    // it adds, and has no registers left for the sums.
    VI products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sums.raw), "=&x"(products.raw)
        : "x"(weights.raw), "x"(inputs[0].raw));
#else
    const auto first = [](VI pair) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(pair)); };
    sums = hn::Add(sums, hn::Mul(first(weights), first(inputs[0])));
    sums = hn::Add(sums, hn::Mul(hn::ShiftRight<16>(weights), hn::ShiftRight<16>(inputs[0])));
#endif
  }
};

struct Quads {
  static constexpr Int8Dot kDot = Int8Dot::kQuads;
#if HWY_TARGET == HWY_AVX3
  // So many sums that totals have to wait in memory: with two loads for each row and input a
  // narrower tile would load more than it multiplies.
  static constexpr int kGroupRows = 6;
  static constexpr int kSums = 24;
#elif HWY_TARGET == HWY_AVX2
  static constexpr int kGroupRows = 5;
  static constexpr int kSums = 10;
#else
  static constexpr int kGroupRows = 4;
  static constexpr int kSums = 16;
#endif
  // Magnitudes, and behind those of the group the signs.
  static constexpr int kInputParts = 2;
  static HWY_INLINE VI load(const uint8_t* from) {
    return hn::LoadU(DI(), reinterpret_cast<const int32_t*>(from));
  }
  // As assembly, since vpdpbusd is no part of what these targets are compiled for (best_int8_dot
  // says whether the CPU has it), and both together for the reason that those of Pairs are.
  static HWY_INLINE void add(VI& sums, VI weights, const VI (&inputs)[2]) {
#if HWY_TARGET == HWY_AVX3
    VI factors;
    asm("vpxord %3, %2, %1\n\tvpdpbusd %1, %4, %0"
        : "+v"(sums.raw), "=&v"(factors.raw)
        : "v"(weights.raw), "v"(inputs[1].raw), "v"(inputs[0].raw));
#elif HWY_TARGET == HWY_AVX2
    VI factors;
    asm("vpxor %3, %2, %1\n\t%{vex%} vpdpbusd %1, %4, %0"
        : "+x"(sums.raw), "=&x"(factors.raw)
        : "x"(weights.raw), "x"(inputs[1].raw), "x"(inputs[0].raw));
#else
    const VI factors = hn::Xor(weights, inputs[1]);
    const VI byte = hn::Set(DI(), 0xff);
    HWY_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      const VI factor = hn::ShiftRight<24>(hn::ShiftLeftSame(factors, 24 - 8 * i));
      sums = hn::Add(sums, hn::Mul(hn::And(hn::ShiftRightSame(inputs[0], 8 * i), byte), factor));
    }
#endif
  }
};

// What streams into the cache during a group of products (Micro::ahead).
struct Ahead {
  const uint8_t* at;
  int64_t step;
};

// totals[kRows, kPanels x 16] += the group's products of the rows at `inputs` with the panels.
template <class Dot, int kRows, int kPanels>
HWY_INLINE void add_group(const Micro& m, int64_t group, const Inputs& inputs, Ahead* ahead,
                          V (*totals)[kPanels * kVectors]) {
  constexpr int kWidth = kPanels * kVectors;
  constexpr int64_t kInputs = dot_inputs(Dot::kDot);
  constexpr int64_t kStepBytes = kInputs * kColumns;
  constexpr int64_t kVectorBytes = kInputs * kLanes;
  constexpr int kInputParts = Dot::kInputParts;
  constexpr int64_t kGroupSteps = kInt8Group / kInputs;
  const D d;
  const DI di;
  const hn::Rebind<hwy::bfloat16_t, D> halves;
  const int64_t panel_bytes = m.panel_groups * kGroupBytes;
  const int64_t panel_scales = m.panel_groups * kColumns;
  const char* HWY_RESTRICT x = inputs.values;
  const uint8_t* HWY_RESTRICT values = m.values + group * kGroupBytes;
  VI sums[kRows][kWidth];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int j = 0; j < kWidth; ++j) sums[i][j] = hn::Zero(di);
  }
  for (int64_t step = 0; step < kGroupSteps; ++step) {
    if (ahead != nullptr) {
      HWY_UNROLL(4)
      for (int p = 0; p < kPanels; ++p) __builtin_prefetch(ahead->at + p * panel_bytes, 0, 3);
      ahead->at += ahead->step;
    }
    const auto weights = [&](int j) HWY_ATTR {
      return Dot::load(values + j / kVectors * panel_bytes + j % kVectors * kVectorBytes);
    };
    const auto load_inputs = [&](int i, VI(&parts)[kInputParts]) HWY_ATTR {
      HWY_UNROLL(2)
      for (int p = 0; p < kInputParts; ++p)
        parts[p] = broadcast(x + i * kInt8RowBytes + p * kInt8Group);
    };
    // The shorter side waits in registers for the longer one, each of whose values is needed
    // once.
    if constexpr (kRows < kWidth) {
      VI a[kRows][kInputParts];
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) load_inputs(i, a[i]);
      HWY_UNROLL(16)
      for (int j = 0; j < kWidth; ++j) {
        const auto w = weights(j);
        HWY_UNROLL(16)
        for (int i = 0; i < kRows; ++i) Dot::add(sums[i][j], w, a[i]);
      }
    } else {
      VI w[kWidth];
      HWY_UNROLL(16)
      for (int j = 0; j < kWidth; ++j) w[j] = weights(j);
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        VI a[kInputParts];
        load_inputs(i, a);
        HWY_UNROLL(16)
        for (int j = 0; j < kWidth; ++j) Dot::add(sums[i][j], w[j], a);
      }
    }
    x += 4;
    values += kStepBytes;
  }
  V scales[kWidth];
  HWY_UNROLL(16)
  for (int j = 0; j < kWidth; ++j) {
    scales[j] = hn::PromoteTo(d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(
                                                       m.scales + j / kVectors * panel_scales +
                                                       group * kColumns + j % kVectors * kLanes)));
  }
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int j = 0; j < kWidth; ++j) {
      // Corrected here: if all sums of a row began with it, copying it would hold up the products.
      const VI sum = Dot::kDot == Int8Dot::kQuads
                         ? hn::Add(sums[i][j], hn::Set(di, inputs.corrections[i]))
                         : sums[i][j];
      const V product = hn::Mul(hn::ConvertTo(d, sum), hn::Set(d, inputs.scales[i]));
      totals[i][j] = hn::MulAdd(product, scales[j], totals[i][j]);
    }
  }
}

// The second term of one row. Apart from the rows of the first: few have one.
template <class Dot, int kPanels>
HWY_NOINLINE void add_second(const Micro& m, int64_t group, int64_t row,
                             V (*totals)[kPanels * kVectors]) {
  const RowGroup& x = m.x;
  add_group<Dot, 1, kPanels>(m, group, x.terms[1].row(group * x.rows + row), nullptr, totals);
}

// One block of inputs: out[kRows, kPanels x 16] (+)= x[kRows, inputs] * panels.
template <class Dot, int kRows, int kPanels>
HWY_NOINLINE void micro(const Micro& m) {
  constexpr int kWidth = kPanels * kVectors;
  const D d;
  const RowGroup& x = m.x;
  V totals[kRows][kWidth];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kWidth; ++j) {
      float* out = x.out + i * m.out_stride + j * kLanes;
      // What is stored at the end must not wait for memory: stores of totals would queue behind it.
      __builtin_prefetch(out, 1, 3);
      totals[i][j] = m.add ? hn::LoadU(d, out) : hn::Zero(d);
    }
  }
  Ahead ahead{m.ahead, m.ahead_step * dot_inputs(Dot::kDot) * kColumns / 64};
  for (int64_t group = 0; group < m.groups; ++group) {
    if (group == m.ahead_turn) ahead.at = m.ahead_then;
    add_group<Dot, kRows, kPanels>(m, group, x.terms[0].row(group * kRows), &ahead, totals);
    for (uint32_t rows = x.rows_with_second[group]; rows != 0; rows &= rows - 1) {
      const int row = std::countr_zero(rows);
      add_second<Dot, kPanels>(m, group, row, totals + row);
    }
  }
  for (int j = 0; j < kWidth; ++j) {
    // Adding +0 where there is no bias: a total of -0 must not tell whether a second term of
    // nothing was added to it.
    const V bias = m.bias != nullptr ? hn::LoadU(d, m.bias + j * kLanes) : hn::Zero(d);
    for (int i = 0; i < kRows; ++i)
      hn::StoreU(hn::Add(totals[i][j], bias), d, x.out + i * m.out_stride + j * kLanes);
  }
}

template <class Dot, int kRows, int kPanels>
void micro_of_rows(int64_t rows, const Micro& m) {
  if constexpr (kPanels <= tile_width<Dot>(kRows)) {
    if (rows == kRows) {
      micro<Dot, kRows, kPanels>(m);
      return;
    }
  }
  if constexpr (kRows > 1) micro_of_rows<Dot, kRows - 1, kPanels>(rows, m);
}

template <class Dot>
struct VectorKernel {
  static_assert(Dot::kGroupRows <= kInt8MostRows);
  static void run(int64_t panels, const Micro& m) {
    const int64_t rows = m.x.rows;
    if (panels == 4) return micro_of_rows<Dot, Dot::kGroupRows, 4>(rows, m);
    if (panels == 2) return micro_of_rows<Dot, Dot::kGroupRows, 2>(rows, m);
    return micro_of_rows<Dot, Dot::kGroupRows, 1>(rows, m);
  }
};

template <class Dot>
void tile(const Int8Tile& t) {
  const int64_t rows = group_begin(t.rows, t.row_groups, t.part.row_group_to) -
                       group_begin(t.rows, t.row_groups, t.part.row_group_from);
  const int64_t row_groups = t.part.row_group_to - t.part.row_group_from;
  walk<VectorKernel<Dot>>(t, tile_width<Dot>((rows + row_groups - 1) / row_groups));
}

void int8_tile_pairs(const Int8Tile& t) { tile<Pairs>(t); }
void int8_tile_quads(const Int8Tile& t) { tile<Quads>(t); }

int64_t int8_group_rows_pairs() { return Pairs::kGroupRows; }
int64_t int8_group_rows_quads() { return Quads::kGroupRows; }
template <class Dot>
int64_t tile_panels(int64_t rows) {
  const int64_t groups = (rows + Dot::kGroupRows - 1) / Dot::kGroupRows;
  return tile_width<Dot>((rows + groups - 1) / groups);
}
int64_t int8_tile_panels_pairs(int64_t rows) { return tile_panels<Pairs>(rows); }
int64_t int8_tile_panels_quads(int64_t rows) { return tile_panels<Quads>(rows); }

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

Int8Kernels int8_kernels(Isa isa, Int8Dot dot, int64_t rows) {
  if (dot == Int8Dot::kPairs) {
    return {dot, BLOCK_ATTENTION_KERNEL(isa, int8_group_rows_pairs)(),
            BLOCK_ATTENTION_KERNEL(isa, int8_tile_panels_pairs),
            BLOCK_ATTENTION_KERNEL(isa, int8_tile_pairs)};
  }
  const int64_t group_rows = BLOCK_ATTENTION_KERNEL(isa, int8_group_rows_quads)();
#if defined(__x86_64__)
  // What one group of rows of the vector kernel holds reads every weight once, and is done before
  // the next one comes from memory: 64 bytes of weights take 8 cycles and more of a core's share of
  // the bandwidth, and 6 rows of them 3 cycles of its two multipliers. Tiles could gain nothing
  // there, and would take as long for one row as for 16.
  if (dot == Int8Dot::kAmx && rows > group_rows) return amx_int8_kernels();
#else
  static_cast<void>(rows);
#endif
  return {Int8Dot::kQuads, group_rows, BLOCK_ATTENTION_KERNEL(isa, int8_tile_panels_quads),
          BLOCK_ATTENTION_KERNEL(isa, int8_tile_quads)};
}

}  // namespace block_attention
#endif
