// The innermost loops of `linear`: one block of steps of a few panels, for one group of rows
// (compiled once per Highway target).
#if defined(BLOCK_ATTENTION_CPU_LINEAR_MICRO_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_LINEAR_MICRO_INL
#undef BLOCK_ATTENTION_CPU_LINEAR_MICRO_INL
#else
#define BLOCK_ATTENTION_CPU_LINEAR_MICRO_INL
#endif

#include <cstdint>

#include "cpu/amx_bf16_kernels.hpp"
#include "cpu/bf16_pairs-inl.hpp"
#include "cpu/linear_kernels.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
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
static_assert(kGroupRows * kGroupPanels * kVectors <= kAccumulators &&
              kGroupPanels <= kMaxWidePanels);

HWY_INLINE V load_wide(const float* from) { return hn::LoadU(D(), from); }
template <typename T>
HWY_INLINE V load_wide(const T* from) {
  return hn::PromoteTo(D(), hn::LoadU(hn::Rebind<T, D>(), from));
}

template <typename T>
HWY_INLINE V multiply_add(V x, V weights, V sum) {
  return hn::MulAdd(x, weights, sum);
}

#if HWY_TARGET == HWY_AVX3
// Two inputs of a feature.
struct Bf16Pair {
  uint16_t inputs[2];
};
HWY_INLINE V load_wide(const Bf16Pair* from) {
  return hn::LoadU(D(), reinterpret_cast<const float*>(from));
}
template <>
HWY_INLINE V multiply_add<Bf16Pair>(V x, V weights, V sum) {
  return multiply_add_pairs(x, weights, sum);
}
#endif

#if HWY_TARGET == HWY_AVX3
// The same, summed in the order of AMX tiles.
struct Bf16TilePair {
  uint16_t inputs[2];
};
#endif

template <typename T>
struct Micro {
  const float* x;
  int64_t x_stride;  // between rows, direct only
  const T* panels;
  int64_t panel_stride;
  int64_t steps;
  // What to bring into the cache meanwhile: per step one address in each of kPanels panels,
  // ahead_step bytes on.
  const char* ahead;
  int64_t ahead_step;
  int64_t ahead_stride;
  // After so many steps the addresses go on from here.
  int64_t ahead_turn;
  const char* ahead_then;
  float* wide;  // repacked 16-bit weights: the panels as float32, for the groups that follow
  float* out;
  int64_t out_stride;
  int64_t out_apart;  // between panels
  bool add;           // to what earlier blocks left in out
  const float* bias;  // with the last block
};

template <bool kRepacked>
HWY_INLINE void prefetch(const char* address) {
  // Repacked blocks are too large for the first level, whose space the widened panels need.
  __builtin_prefetch(address, 0, kRepacked ? 2 : 3);
}

// Puts the sums of a block, sum(row, vector), where they belong.
template <int kRows, int kWidth, typename T, typename Sum>
HWY_INLINE void leave_sums(const Micro<T>& m, const Sum& sum_at) {
  const D d;
  float* out = m.out;
  const int64_t out_stride = m.out_stride;
  const int64_t out_apart = m.out_apart;
  const float* bias = m.bias;
  const bool add = m.add;
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(32)
    for (int j = 0; j < kWidth; ++j) {
      const int64_t at = j / kVectors * out_apart + j % kVectors * kLanes;
      V sum = sum_at(i, j);
      if (add) sum = hn::Add(hn::LoadU(d, out + at), sum);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + at));
      hn::StoreU(sum, d, out + at);
    }
    out += out_stride;
  }
}

// One block of steps: out[kRows, kPanels x 16] (+)= x[kRows, steps] * panels.
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
  const char* ahead = m.ahead;
  const int64_t ahead_step = m.ahead_step;
  const int64_t ahead_stride = m.ahead_stride;
  int64_t end = m.ahead_turn;
  for (int64_t k = 0;; ++k) {
    if (k == end) {
      if (end == m.steps) break;
      end = m.steps;
      ahead = m.ahead_then;
    }
    const auto load = [&](int panel, int vector) HWY_ATTR {
      const V w = load_wide(panels + panel * panel_stride + vector * kLanes);
      if (kKeepWide) hn::Store(w, d, wide + panel * kSumBlock * kColumns + vector * kLanes);
      return w;
    };
    const auto input = [&](int row)
                           HWY_ATTR { return hn::Set(d, kRepacked ? x[row] : x[row * x_stride]); };
    HWY_UNROLL(4)
    for (int p = 0; p < kPanels; ++p) prefetch<kRepacked>(ahead + p * ahead_stride);
    // The shorter side waits in registers for the longer one, each of whose values is needed once.
    if constexpr (kRows < kWidth) {
      V a[kRows];
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) a[i] = input(i);
      HWY_UNROLL(32)
      for (int j = 0; j < kWidth; ++j) {
        const V w = load(j / kVectors, j % kVectors);
        HWY_UNROLL(16)
        for (int i = 0; i < kRows; ++i) sums[i][j] = multiply_add<T>(a[i], w, sums[i][j]);
      }
    } else {
      V w[kWidth];
      HWY_UNROLL(32)
      for (int j = 0; j < kWidth; ++j) w[j] = load(j / kVectors, j % kVectors);
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) {
        const V a = input(i);
        HWY_UNROLL(32)
        for (int j = 0; j < kWidth; ++j) sums[i][j] = multiply_add<T>(a, w[j], sums[i][j]);
      }
    }
    x += kRepacked ? kRows : 1;
    panels += kColumns;
    ahead += ahead_step;
    if (kKeepWide) wide += kColumns;
  }
  leave_sums<kRows, kWidth>(m, [&](int i, int j) HWY_ATTR { return sums[i][j]; });
}

#if HWY_TARGET == HWY_AVX3
// Subnormal numbers count as zero, as they do to AMX, and afterwards as before.
class WithoutSubnormals {
 public:
  WithoutSubnormals() : before_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000;
    constexpr unsigned kDenormalsAreZero = 0x40;
    _mm_setcsr(before_ | kFlushToZero | kDenormalsAreZero);
  }
  ~WithoutSubnormals() { _mm_setcsr(before_); }
  WithoutSubnormals(const WithoutSubnormals&) = delete;
  WithoutSubnormals& operator=(const WithoutSubnormals&) = delete;

 private:
  unsigned before_;
};

// sums[kRows][kPanels x 16] = those of a block. A function of its own, so that no operation moves
// out of where subnormal numbers are zero.
template <int kRows, int kPanels>
HWY_NOINLINE void sum_as_tiles(const Micro<Bf16TilePair>& m, float* to) {
  static_assert(kVectors == 1);
  const D d;
  const hn::RebindToUnsigned<D> bits;
  const auto first_of = [&](hn::Vec<decltype(bits)> pairs)
                            HWY_ATTR { return hn::BitCast(d, hn::ShiftLeft<16>(pairs)); };
  const auto second_of = [&](hn::Vec<decltype(bits)> pairs) HWY_ATTR {
    return hn::BitCast(d, hn::And(pairs, hn::Set(bits, 0xffff0000u)));
  };
  V sums[kRows][kPanels];
  V firsts[kRows][kPanels];
  V seconds[kRows][kPanels];
  HWY_UNROLL(4)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4)
    for (int j = 0; j < kPanels; ++j) sums[i][j] = hn::Zero(d);
  }
  const auto* x = reinterpret_cast<const uint32_t*>(m.x);
  const auto* panels = reinterpret_cast<const uint32_t*>(m.panels);
  const char* ahead = m.ahead;
  int64_t end = m.ahead_turn;
  for (int64_t k = 0; k < m.steps;) {
    HWY_UNROLL(4)
    for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4)
      for (int j = 0; j < kPanels; ++j) firsts[i][j] = seconds[i][j] = hn::Zero(d);
    }
    const int64_t stop = m.steps - k < kAmxStepPairs ? m.steps : k + kAmxStepPairs;
    for (; k < stop; ++k) {
      if (k == end) {
        end = m.steps;
        ahead = m.ahead_then;
      }
      HWY_UNROLL(4)
      for (int j = 0; j < kPanels; ++j) prefetch<false>(ahead + j * m.ahead_stride);
      V first[kRows];
      V second[kRows];
      HWY_UNROLL(4)
      for (int i = 0; i < kRows; ++i) {
        const auto pair = hn::Set(bits, x[i * m.x_stride + k]);
        first[i] = first_of(pair);
        second[i] = second_of(pair);
      }
      HWY_UNROLL(4)
      for (int j = 0; j < kPanels; ++j) {
        const auto pairs = hn::LoadU(bits, panels + j * m.panel_stride);
        const V w_first = first_of(pairs);
        const V w_second = second_of(pairs);
        HWY_UNROLL(4)
        for (int i = 0; i < kRows; ++i) {
          firsts[i][j] = hn::MulAdd(first[i], w_first, firsts[i][j]);
          seconds[i][j] = hn::MulAdd(second[i], w_second, seconds[i][j]);
        }
      }
      panels += kColumns;
      ahead += m.ahead_step;
    }
    HWY_UNROLL(4)
    for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4)
      for (int j = 0; j < kPanels; ++j)
        sums[i][j] = hn::Add(sums[i][j], hn::Add(firsts[i][j], seconds[i][j]));
    }
  }
  HWY_UNROLL(4)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(4)
    for (int j = 0; j < kPanels; ++j) hn::Store(sums[i][j], d, to + (i * kPanels + j) * kColumns);
  }
}

template <int kRows, int kPanels, bool kRepacked>
HWY_NOINLINE void micro(const Micro<Bf16TilePair>& m) {
  HWY_ALIGN float sums[kRows * kPanels * kColumns];
  {
    const WithoutSubnormals without_subnormals;
    sum_as_tiles<kRows, kPanels>(m, sums);
  }
  leave_sums<kRows, kPanels>(
      m, [&](int i, int j) HWY_ATTR { return hn::Load(D(), sums + (i * kPanels + j) * kColumns); });
}
#endif

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
