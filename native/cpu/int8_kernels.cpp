#include "cpu/int8_kernels.hpp"

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

// The most rows of a group, and the vectors of sums that registers hold beside what they are made
// of.
#if HWY_TARGET == HWY_AVX3
constexpr int kGroupRows = 6;
constexpr int kSums = 12;
#elif HWY_TARGET == HWY_AVX2
constexpr int kGroupRows = 6;
constexpr int kSums = 12;
#else
constexpr int kGroupRows = 4;
constexpr int kSums = 16;
#endif
static_assert(kGroupRows <= kInt8MostRows);

// Panels computed at once for groups of `rows` rows. One row, which waits for memory, reads one
// after the other: sums of groups are independent enough, and memory keeps up best with one stream.
constexpr int tile_width(int64_t rows) {
  if (rows == 1) return 1;
  if (rows * 4 * kVectors <= kSums) return 4;
  return rows * 2 * kVectors <= kSums ? 2 : 1;
}

// How bytes of weights are loaded, and multiplied by activations: sums[lane] += the products of the
// lane's feature with all dot_inputs inputs, whose activations are in every lane of `inputs`.
struct Pairs {
  static constexpr Int8Dot kDot = Int8Dot::kPairs;
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
  static HWY_INLINE void add(VI& sums, VI weights, VI inputs) {
#if HWY_TARGET == HWY_AVX3
    sums.raw = _mm512_add_epi32(sums.raw, _mm512_madd_epi16(weights.raw, inputs.raw));
#elif HWY_TARGET == HWY_AVX2
    // As assembly, which keeps the two together: left to itself, g++ multiplies for all sums before
    // it adds, and has no registers left for the sums.
    VI products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sums.raw), "=&x"(products.raw)
        : "x"(weights.raw), "x"(inputs.raw));
#else
    const auto first = [](VI pair) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(pair)); };
    sums = hn::Add(sums, hn::Mul(first(weights), first(inputs)));
    sums = hn::Add(sums, hn::Mul(hn::ShiftRight<16>(weights), hn::ShiftRight<16>(inputs)));
#endif
  }
};

struct Quads {
  static constexpr Int8Dot kDot = Int8Dot::kQuads;
  static HWY_INLINE VI load(const uint8_t* from) {
    return hn::LoadU(DI(), reinterpret_cast<const int32_t*>(from));
  }
  // Written as assembly, since the instruction is no part of what these targets are compiled for:
  // best_int8_dot says whether the CPU has it.
  static HWY_INLINE void add(VI& sums, VI weights, VI inputs) {
#if HWY_TARGET == HWY_AVX3
    asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(weights.raw), "v"(inputs.raw));
#elif HWY_TARGET == HWY_AVX2
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums.raw) : "x"(weights.raw), "x"(inputs.raw));
#else
    const VI byte = hn::Set(DI(), 0xff);
    HWY_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      const VI input = hn::ShiftRight<24>(hn::ShiftLeftSame(inputs, 24 - 8 * i));
      sums = hn::Add(sums, hn::Mul(hn::And(hn::ShiftRightSame(weights, 8 * i), byte), input));
    }
#endif
  }
};

#if HWY_TARGET == HWY_AVX3
// Of weights that are kept signed, for kAmx: adding 128 is one instruction for 64 of them, which
// products of few rows have time for while they wait for memory.
struct SignedQuads : Quads {
  static HWY_INLINE VI load(const uint8_t* from) {
    return hn::Xor(Quads::load(from), hn::Set(DI(), static_cast<int32_t>(0x80808080u)));
  }
};
#endif

// One block of inputs: out[kRows, kPanels x 16] (+)= x[kRows, inputs] * panels.
template <class Dot, int kRows, int kPanels>
HWY_NOINLINE void micro(const Micro& m) {
  constexpr int kWidth = kPanels * kVectors;
  constexpr int64_t kInputs = dot_inputs(Dot::kDot);
  constexpr int64_t kStepBytes = kInputs * kColumns;
  constexpr int64_t kVectorBytes = kInputs * kLanes;
  constexpr int64_t kGroupSteps = kInt8Group / kInputs;
  // The bytes of all rows for one step; dot_inputs of either kind are four.
  constexpr int64_t kRowBytes = 4;
  const D d;
  const DI di;
  const hn::Rebind<hwy::bfloat16_t, D> halves;
  const RowGroup& row_group = m.x[0];
  const int64_t panel_bytes = m.panel_groups * kGroupBytes;
  const int64_t panel_scales = m.panel_groups * kColumns;
  V totals[kRows][kWidth];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kWidth; ++j)
      totals[i][j] =
          m.add ? hn::LoadU(d, row_group.out + i * m.out_stride + j * kLanes) : hn::Zero(d);
  }
  const uint8_t* ahead = m.ahead;
  int64_t ahead_step = m.ahead_step * kStepBytes / 64;
  for (int64_t group = 0; group < m.groups; ++group) {
    if (group == m.ahead_turn) ahead = m.ahead_then;
    const int terms = row_group.rows_with_second[group] != 0 ? 2 : 1;
    for (int term = 0; term < terms; ++term) {
      const Inputs& inputs = row_group.terms[term];
      const char* HWY_RESTRICT x = inputs.values + group * kGroupSteps * kRows * kRowBytes;
      const uint8_t* HWY_RESTRICT values = m.values + group * kGroupBytes;
      VI sums[kRows][kWidth];
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        HWY_UNROLL(16)
        for (int j = 0; j < kWidth; ++j)
          sums[i][j] = Dot::kDot == Int8Dot::kQuads ? hn::Set(di, inputs.starts[group * kRows + i])
                                                    : hn::Zero(di);
      }
      for (int64_t step = 0; step < kGroupSteps; ++step) {
        HWY_UNROLL(4)
        for (int p = 0; p < kPanels; ++p) __builtin_prefetch(ahead + p * panel_bytes, 0, 3);
        const auto weights = [&](int j) HWY_ATTR {
          return Dot::load(values + j / kVectors * panel_bytes + j % kVectors * kVectorBytes);
        };
        const auto input = [&](int i) HWY_ATTR {
          int32_t four;
          hwy::CopyBytes<4>(x + i * kRowBytes, &four);
          return hn::Set(di, four);
        };
        // The shorter side waits in registers for the longer one, each of whose values is needed
        // once.
        if constexpr (kRows < kWidth) {
          VI a[kRows];
          HWY_UNROLL(16)
          for (int i = 0; i < kRows; ++i) a[i] = input(i);
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
            const VI a = input(i);
            HWY_UNROLL(16)
            for (int j = 0; j < kWidth; ++j) Dot::add(sums[i][j], w[j], a);
          }
        }
        x += kRows * kRowBytes;
        values += kStepBytes;
        ahead += ahead_step;
      }
      HWY_UNROLL(16)
      for (int j = 0; j < kWidth; ++j) {
        const V scale =
            hn::PromoteTo(d, hn::LoadU(halves, reinterpret_cast<const hwy::bfloat16_t*>(
                                                   m.scales + j / kVectors * panel_scales +
                                                   group * kColumns + j % kVectors * kLanes)));
        HWY_UNROLL(16)
        for (int i = 0; i < kRows; ++i) {
          const V sum =
              hn::Mul(hn::ConvertTo(d, sums[i][j]), hn::Set(d, inputs.scales[group * kRows + i]));
          totals[i][j] = hn::MulAdd(sum, scale, totals[i][j]);
        }
      }
      // The second term needs the same weights again.
      ahead_step = 0;
    }
    ahead_step = m.ahead_step * kStepBytes / 64;
  }
  for (int j = 0; j < kWidth; ++j) {
    // Adding +0 where there is no bias: a total of -0 must not tell whether a second term of
    // nothing was added to it.
    const V bias = m.bias != nullptr ? hn::LoadU(d, m.bias + j * kLanes) : hn::Zero(d);
    for (int i = 0; i < kRows; ++i)
      hn::StoreU(hn::Add(totals[i][j], bias), d, row_group.out + i * m.out_stride + j * kLanes);
  }
}

template <class Dot, int kRows, int kPanels>
void micro_of_rows(int64_t rows, const Micro& m) {
  if constexpr (kPanels <= tile_width(kRows)) {
    if (rows == kRows) {
      micro<Dot, kRows, kPanels>(m);
      return;
    }
  }
  if constexpr (kRows > 1) micro_of_rows<Dot, kRows - 1, kPanels>(rows, m);
}

template <class Dot>
struct VectorKernel {
  static constexpr Int8Dot kDot = Dot::kDot;
  static constexpr int64_t kRowGroups = 1;
  static void run(int64_t panels, const Micro& m) {
    const int64_t rows = m.x[0].rows;
    if (panels == 4) return micro_of_rows<Dot, kGroupRows, 4>(rows, m);
    if (panels == 2) return micro_of_rows<Dot, kGroupRows, 2>(rows, m);
    return micro_of_rows<Dot, kGroupRows, 1>(rows, m);
  }
};

template <class Dot>
void tile(const Int8Tile& t) {
  const int64_t rows = group_begin(t.rows, t.row_groups, t.part.row_group_to) -
                       group_begin(t.rows, t.row_groups, t.part.row_group_from);
  const int64_t row_groups = t.part.row_group_to - t.part.row_group_from;
  walk<VectorKernel<Dot>>(t, tile_width((rows + row_groups - 1) / row_groups));
}

void int8_tile_pairs(const Int8Tile& t) { tile<Pairs>(t); }
void int8_tile_quads(const Int8Tile& t) { tile<Quads>(t); }
#if HWY_TARGET == HWY_AVX3
void int8_tile_signed_quads(const Int8Tile& t) { tile<SignedQuads>(t); }
#endif

int64_t int8_group_rows() { return kGroupRows; }
int64_t int8_tile_panels(int64_t rows) {
  const int64_t groups = (rows + kGroupRows - 1) / kGroupRows;
  return tile_width((rows + groups - 1) / groups);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

Int8Kernels int8_kernels(Isa isa, Int8Dot dot, int64_t rows) {
  const int64_t group_rows = BLOCK_ATTENTION_KERNEL(isa, int8_group_rows)();
  const auto tile_panels = BLOCK_ATTENTION_KERNEL(isa, int8_tile_panels);
#if defined(__x86_64__)
  if (dot == Int8Dot::kAmx) {
    // What one group of rows of the vector kernel holds reads every weight once, and is done before
    // the next one comes from memory: 64 bytes of weights take 8 cycles and more of a core's share
    // of the bandwidth, and 6 rows of them 3 cycles of its two multipliers. Tiles could gain
    // nothing there, and would take as long for one row as for 16.
    if (rows > group_rows) return amx_int8_kernels();
    return {Int8Dot::kQuads, group_rows, tile_panels, &N_AVX3::int8_tile_signed_quads};
  }
#endif
  static_cast<void>(rows);
  return {dot, group_rows, tile_panels,
          dot == Int8Dot::kPairs ? BLOCK_ATTENTION_KERNEL(isa, int8_tile_pairs)
                                 : BLOCK_ATTENTION_KERNEL(isa, int8_tile_quads)};
}

}  // namespace block_attention
#endif
