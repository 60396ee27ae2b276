// Joins the cuts of a row of attention: flash attention's merge (Dao et al. 2022, section 3.1),
// state = a * state + b * partial, with a and b the weights of the two maxima (compiled once per
// Highway target).
#if defined(BLOCK_ATTENTION_CPU_ATTENTION_JOIN_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_ATTENTION_JOIN_INL
#undef BLOCK_ATTENTION_CPU_ATTENTION_JOIN_INL
#else
#define BLOCK_ATTENTION_CPU_ATTENTION_JOIN_INL
#endif

#include <cstdint>

#include "cpu/attention_kernels.hpp"
#include "cpu/exp2-inl.hpp"
#include "cpu/four_rows-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// The states of up to 16 rows while a later partial is joined to them, vector by vector and in any
// order.
class Join {
 public:
  // maxima: of the partials, in fours.
  HWY_INLINE void begin(int32_t head_dim, float* const* states, const float* maxima,
                        int32_t count) {
    const F4 d;
    count_ = count;
    tail_ = padded_head_dim(head_dim);
    for (int32_t r = 0; r < count; r += 4) {
      const float* tails[4];
      for (int32_t i = 0; i < 4; ++i) {
        states_[r + i] = states[r + i < count ? r + i : count - 1];
        tails[i] = states_[r + i] + tail_;
      }
      HWY_ALIGN float columns[4][4];
      transpose_four(tails, columns);
      for (int32_t i = 0; i < 4; i += static_cast<int32_t>(hn::Lanes(d))) {
        const V4 before = hn::Load(d, columns[0] + i);
        const V4 sum = hn::Load(d, columns[1] + i);
        const V4 later = hn::Load(d, maxima + r + i);
        const V4 max = hn::Max(before, later);
        const V4 keep = exp2_nonpositive(d, hn::Sub(before, max));
        hn::Store(max, d, maxima_ + r + i);
        hn::Store(keep, d, keep_ + r + i);
        hn::Store(exp2_nonpositive(d, hn::Sub(later, max)), d, add_ + r + i);
        hn::Store(sum, d, sums_ + r + i);
        hn::Store(hn::Mul(sum, keep), d, kept_sums_ + r + i);
      }
    }
  }

#if HWY_TARGET == HWY_AVX3
  // The same for all sixteen at once. maxima: of the partials; those behind `count` may be
  // anything.
  HWY_INLINE void begin_sixteen(int32_t head_dim, float* const* states, const float* maxima,
                                int32_t count) {
    const hn::CappedTag<float, 16> d;
    using V16 = hn::Vec<decltype(d)>;
    count_ = count;
    tail_ = padded_head_dim(head_dim);
    for (int32_t r = 0; r < 16; ++r) states_[r] = states[r < count ? r : count - 1];
    // Tails of rows first, first + 4, first + 8 and first + 12, one in each quarter.
    const auto tails = [&](int32_t first) HWY_ATTR {
      const auto tail = [&](int32_t r) HWY_ATTR { return _mm_load_ps(states_[first + r] + tail_); };
      const __m256 lower = _mm256_insertf128_ps(_mm256_castps128_ps256(tail(0)), tail(4), 1);
      const __m256 upper = _mm256_insertf128_ps(_mm256_castps128_ps256(tail(8)), tail(12), 1);
      return V16{_mm512_insertf32x8(_mm512_castps256_ps512(lower), upper, 1)};
    };
    const auto first = hn::InterleaveLower(d, tails(0), tails(1));
    const auto second = hn::InterleaveLower(d, tails(2), tails(3));
    const V16 before{_mm512_shuffle_ps(first.raw, second.raw, 0x44)};
    const V16 sum{_mm512_shuffle_ps(first.raw, second.raw, 0xee)};
    const V16 later = hn::Load(d, maxima);
    const V16 max = hn::Max(before, later);
    const V16 keep = exp2_nonpositive(d, hn::Sub(before, max));
    hn::Store(max, d, maxima_);
    hn::Store(keep, d, keep_);
    hn::Store(exp2_nonpositive(d, hn::Sub(later, max)), d, add_);
    hn::Store(sum, d, sums_);
    hn::Store(hn::Mul(sum, keep), d, kept_sums_);
  }
#endif

  // Joins a vector of the partial's outputs, from dim `dim` on.
  template <class D>
  HWY_INLINE void outputs(D d, int32_t row, int32_t dim, hn::Vec<D> partial) const {
    const RowWeights<D> weights = {sums_[row] == 0, hn::Set(d, keep_[row]), hn::Set(d, add_[row])};
    join(d, weights, partial, states_[row] + dim);
  }

  // The same for kVectors vectors of 16 dims, of which those of the partial lie `stride` apart.
  template <int32_t kVectors>
  HWY_INLINE void row_outputs(int32_t row, int32_t dim, const float* partial,
                              int32_t stride) const {
    using D = hn::CappedTag<float, 16>;
    const D d;
    constexpr int32_t kLanes = static_cast<int32_t>(hn::MaxLanes(d));
    const RowWeights<D> weights = {sums_[row] == 0, hn::Set(d, keep_[row]), hn::Set(d, add_[row])};
    for (int32_t j = 0; j < kVectors; ++j) {
      for (int32_t i = 0; i < 16; i += kLanes) {
        join(d, weights, hn::Load(d, partial + j * stride + i), states_[row] + dim + j * 16 + i);
      }
    }
  }

  // sums: of the partials' weights, in fours.
  HWY_INLINE void end(const float* sums) {
    const F4 d;
    for (int32_t r = 0; r < count_; r += static_cast<int32_t>(hn::Lanes(d))) {
      const V4 sum =
          hn::MulAdd(hn::Load(d, sums + r), hn::Load(d, add_ + r), hn::Load(d, kept_sums_ + r));
      hn::Store(sum, d, kept_sums_ + r);
    }
    for (int32_t r = 0; r < count_; ++r) {
      states_[r][tail_] = maxima_[r];
      states_[r][tail_ + 1] = kept_sums_[r];
    }
  }

 private:
  template <class D>
  struct RowWeights {
    bool empty;  // the state, which may then hold anything
    hn::Vec<D> keep;
    hn::Vec<D> add;
  };
  template <class D>
  static HWY_INLINE void join(D d, const RowWeights<D>& weights, hn::Vec<D> partial, float* state) {
    if (weights.empty) return hn::StoreU(partial, d, state);
    const auto kept = hn::Mul(hn::LoadU(d, state), weights.keep);
    hn::StoreU(hn::MulAdd(partial, weights.add, kept), d, state);
  }

  int32_t count_;
  int32_t tail_;  // where a state's maximum and sum are
  float* states_[16];
  HWY_ALIGN float maxima_[16];
  HWY_ALIGN float keep_[16];
  HWY_ALIGN float add_[16];
  HWY_ALIGN float sums_[16];       // of the states
  HWY_ALIGN float kept_sums_[16];  // times keep_
};

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
