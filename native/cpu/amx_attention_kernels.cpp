#include "cpu/amx_attention_kernels.hpp"

#include "cpu/amx_tiles.hpp"
#include "cpu/ask_ahead.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/amx_attention_kernels.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include <algorithm>
#include <utility>

#include "cpu/amx_values-inl.hpp"
#include "cpu/attention_stages-inl.hpp"
#include "cpu/lines_ahead.hpp"
#include "cpu/sixteen_rows-inl.hpp"

// For 16 rows and a cut of heads of 64 dims the multiplier is busy for 64 products of 16 cycles,
// half of them scores; the vector units make 256 vectors of weights, 5 cycles each, or 6 near
// products of tiles, which leave one unit for multiply-adds of vectors. So weights are made beside
// products, with few multiply-adds. The rest is to keep scores in the first cache level: 16 rows of
// them take 17 KiB, which every group of rows uses anew, while keys and values stream past it from
// the second.
#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kGroupRows = kAmxAttentionRows;
static_assert(kGroupRows == amx::kTileRows && kPanel * 4 == amx::kRowBytes);
// Dims of a product that sums over them.
constexpr int32_t kStepDims = 32;
static_assert(amx_takes_head(kStepDims) && !amx_takes_head(kStepDims / 2));
constexpr int64_t kQueryBytes = kQueryStride * 4;
constexpr int64_t kScoreBytes = kScoreStride * 4;
// Panels of dims whose outputs are summed at once, as many as there are tiles for or the fewest
// that a head has left, and floats of a tile of sums.
constexpr int32_t kMostPanels = 4;
constexpr int32_t kFewPanels = kStepDims / kPanel;
constexpr int32_t kTileFloats = kGroupRows * kPanel;

struct AmxScratch {
  float* query;   // [16][kQueryStride]: rotated, scaled and rounded
  float* scores;  // [16][kScoreStride], then the weights, rounded
  float* sums;    // [kMostPanels][16][16]: outputs
  char* values;   // of bf16, as copy_values() leaves them
};

AmxScratch split_amx_scratch(float* scratch) {
  AmxScratch s;
  s.query = scratch;
  s.scores = s.query + kGroupRows * kQueryStride;
  s.sums = s.scores + kGroupRows * kScoreStride;
  s.values = reinterpret_cast<char*>(s.sums + kMostPanels * kTileFloats);
  return s;
}

// Steps of kStepKeys keys in which keys lie.
KeyRange steps_of(KeyRange keys) {
  return {keys.first / kStepKeys, (keys.last + kStepKeys - 1) / kStepKeys};
}

// A group of up to 16 rows on its way through the stages.
struct RowGroup {
  const AttentionRow* rows;
  int32_t count;
  KeyRange steps;   // in which the keys lie that some row sees
  KeyRange panels;  // from the first step to the last panel with such a key
  const AmxScratch* scratch;
  HWY_ALIGN float maxima[kGroupRows];
  HWY_ALIGN float totals[kGroupRows * kPanel];
  Join join;

  Softmax softmax() { return {scratch->scores, maxima, totals}; }
};

template <int... kIndices, typename Body>
HWY_INLINE void for_indices(std::integer_sequence<int, kIndices...>, const Body& body) {
  (body(std::integral_constant<int, kIndices>()), ...);
}
// body(integral_constant<int, i>()) for i from 0 to kCount - 1: tiles are named by constants.
template <int kCount, typename Body>
HWY_INLINE void for_constants(const Body& body) {
  for_indices(std::make_integer_sequence<int, kCount>(), body);
}

// Into the second cache level: the first is too small for what is loaded meanwhile.
HWY_INLINE void take_turn(LinesAhead& ahead) { ahead.take_turn(ask_ahead); }
// Turns that a group of rows takes in a step.
constexpr int32_t kScoreTurns = 2;
constexpr int32_t turns_of_step(const AttentionShape& shape) {
  return kScoreTurns + std::min(kMostPanels, shape.head_dim / kPanel);
}

// The scores of a panel, in tile kSums, by tiles 2 and 3. The query of kSteps steps is in tiles 4
// and up, or if kSteps is 0 comes from memory.
template <int kSums, int kSteps>
HWY_INLINE void score_panel(const AttentionShape& shape, const char* query, const void* page) {
  const char* keys = static_cast<const char*>(page);
  constexpr int64_t kStepBytes = kStepDims * kPanel * 2;
  amx::zero<kSums>();
  for_constants<kSteps>([&](auto step) {
    constexpr int kKeys = 2 + step() % 2;
    amx::load_past<kKeys>(keys + step() * kStepBytes);
    amx::multiply_bf16<kSums, 4 + step(), kKeys>();
  });
  if constexpr (kSteps == 0) {
    for (int32_t dim = 0; dim < shape.head_dim; dim += kStepDims) {
      amx::load<4>(query + dim * 2, kQueryBytes);
      amx::load_past<2>(keys + dim / kStepDims * kStepBytes);
      amx::multiply_bf16<kSums, 4, 2>();
    }
  }
}

// Two panels at a time: one is stored while the other is summed.
template <int kSteps>
void score(const AttentionShape& shape, const AttentionCut& cut, const RowGroup& group,
           LinesAhead& ahead) {
  const char* query = reinterpret_cast<const char*>(group.scratch->query);
  char* scores = reinterpret_cast<char*>(group.scratch->scores);
  for_constants<kSteps>(
      [&](auto step) { amx::load<4 + step()>(query + step() * kStepDims * 2, kQueryBytes); });
  const int32_t last = group.panels.last;
  int32_t panel = group.panels.first;
  score_panel<0, kSteps>(shape, query, cut.k[panel]);
  while (panel + 1 < last) {
    score_panel<1, kSteps>(shape, query, cut.k[panel + 1]);
    amx::store<0>(scores + panel * amx::kRowBytes, kScoreBytes);
    take_turn(ahead);
    panel += kStepPanels;
    if (panel < last) score_panel<0, kSteps>(shape, query, cut.k[panel]);
    amx::store<1>(scores + (panel - 1) * amx::kRowBytes, kScoreBytes);
    take_turn(ahead);
  }
  if (panel < last) amx::store<0>(scores + panel * amx::kRowBytes, kScoreBytes);
}

void score_any(const AttentionShape& shape, const AttentionCut& cut, const RowGroup& group,
               LinesAhead& ahead) {
  switch (shape.head_dim / kStepDims) {
    case 1:
      return score<1>(shape, cut, group, ahead);
    case 2:
      return score<2>(shape, cut, group, ahead);
    case 3:
      return score<3>(shape, cut, group, ahead);
    case 4:
      return score<4>(shape, cut, group, ahead);
    default:
      return score<0>(shape, cut, group, ahead);
  }
}

// Rows are computed in fours; those behind the group's hold whatever they do, and nobody looks.
template <int32_t kRows>
HWY_INLINE void find_group_maxima(RowGroup& group, KeyRange panels) {
  const F32 d;
  V most[kRows];
  for (int32_t r = 0; r < kRows; ++r) most[r] = hn::Set(d, -HUGE_VALF);
  for (int32_t p = panels.first; p < panels.last; ++p) {
    for (int32_t r = 0; r < kRows; ++r) {
      const float* scores = group.scratch->scores + r * kScoreStride + p * kPanel;
      most[r] = hn::Max(most[r], hn::Load(d, scores));
    }
  }
  const V maxima = combine_sixteen([&](int32_t r) HWY_ATTR { return most[r % kRows]; },
                                   [](V a, V b) HWY_ATTR { return hn::Max(a, b); });
  hn::Store(maxima, d, group.maxima);
  for_constants<kRows>([&](auto r)
                           HWY_ATTR { hn::Store(hn::Zero(d), d, group.totals + r() * kPanel); });
}

template <int32_t kRows>
HWY_INLINE void maximum(const AttentionShape& shape, RowGroup& group) {
  const KeyRange panels = group.panels;
  const AttentionRow* rows = group.rows;
  float* scores = group.scratch->scores;
  if (see_alike(rows, group.count)) {
    hide_unseen<kRows>(scores, panels, rows->first, rows->last);
  } else {
    for (int32_t r = 0; r < group.count; ++r)
      hide_unseen<1>(scores + r * kScoreStride, panels, rows[r].first, rows[r].last);
  }
  find_group_maxima<kRows>(group, panels);
  float* states[kGroupRows];
  for (int32_t r = 0; r < group.count; ++r) states[r] = rows[r].state;
  group.join.begin_sixteen(shape.head_dim, states, group.maxima, group.count);
}

// Turns a row's scores of the first kPanels panels of a step into weights 2^(score - maximum).
template <int32_t kPanels>
HWY_INLINE void weigh_step(const Softmax& softmax, int32_t row, int32_t step) {
  const F32 d;
  float* scores = softmax.scores + row * kScoreStride;
  float* totals = softmax.totals + row * kPanel;
  const V maximum = hn::Set(d, softmax.maxima[row]);
  const auto weights = [&](int32_t key) HWY_ATTR {
    return exp2_beside_tiles(d, hn::Sub(hn::Load(d, scores + key), maximum));
  };
  const V first = weights(step * kStepKeys);
  V total = hn::Add(hn::Load(d, totals), first);
  V second = hn::Zero(d);
  if constexpr (kPanels == 2) {
    second = weights(step * kStepKeys + kPanel);
    total = hn::Add(total, second);
  }
  hn::Store(total, d, totals);
  round_two_to_bf16(first, second, scores + step * kPanel);
}

template <int32_t kPanels>
HWY_INLINE void zero_sums() {
  for_constants<kPanels>([](auto panel) { amx::zero<panel()>(); });
}

// Adds the values of a panel of dims, `tile`, times the weights of a step, in tile 4.
template <int32_t kIndex>
HWY_INLINE void multiply_values(const char* tile) {
  constexpr int kValues = 6 + kIndex % 2;
  amx::load_past<kValues>(tile);
  amx::multiply_bf16<kIndex, 4, kValues>();
}

// The tile of values of a step and of the panel of dims that begins at `dim`.
HWY_INLINE const char* values_at(const AttentionShape& shape, const RowGroup& group, int32_t step,
                                 int32_t dim) {
  const int64_t tile = int64_t{step} * (shape.head_dim / kPanel) + dim / kPanel;
  return group.scratch->values + tile * amx::kTileBytes;
}

// Joins the sums of kPanels panels of dims from `dim` on.
template <int32_t kPanels>
HWY_INLINE void join_sums(const RowGroup& group, int32_t dim) {
  float* sums = group.scratch->sums;
  for_constants<kPanels>([&](auto panel) { amx::store<panel()>(sums + panel() * kTileFloats); });
  for (int32_t r = 0; r < group.count; ++r)
    group.join.row_outputs<kPanels>(r, dim, sums + r * kPanel, kTileFloats);
}

// Weights are made so many parts of a step, of which there are kPanels, before they are multiplied:
// a tile cannot be loaded from stores that have not reached the cache.
template <int32_t kPanels>
constexpr int32_t kPartsAhead = kPanels * 3 / 2;

// Weights and the outputs of the first kPanels panels of dims, which are summed beside them.
template <int32_t kRows, int32_t kPanels>
HWY_INLINE void weigh_and_output(const AttentionShape& shape, RowGroup& group, LinesAhead& ahead) {
  const Softmax softmax = group.softmax();
  const char* weights = reinterpret_cast<const char*>(softmax.scores);
  const int32_t last = group.steps.last;
  constexpr int32_t kAhead = kPartsAhead<kPanels>;
  // Part `part` of the weights of a step and of those behind it.
  const auto weigh = [&](int32_t step, int32_t part) HWY_ATTR {
    step += part / kPanels;
    part %= kPanels;
    const int32_t panels = group.panels.last - kStepPanels * step;
    if (panels <= 0) return;
    const int32_t from = part * kRows / kPanels;
    const int32_t to = (part + 1) * kRows / kPanels;
    if (panels == 1) {
      for (int32_t r = from; r < to; ++r) weigh_step<1>(softmax, r, step);
    } else {
      for (int32_t r = from; r < to; ++r) weigh_step<2>(softmax, r, step);
    }
  };
  zero_sums<kPanels>();
  for_constants<kAhead>([&](auto part) HWY_ATTR { weigh(group.steps.first, part()); });
  for (int32_t step = group.steps.first; step < last; ++step) {
    const char* values = values_at(shape, group, step, 0);
    amx::load<4>(weights + step * amx::kRowBytes, kScoreBytes);
    for_constants<kPanels>([&](auto panel) HWY_ATTR {
      multiply_values<panel()>(values + panel() * amx::kTileBytes);
      weigh(step, panel() + kAhead);
      take_turn(ahead);
    });
  }
  join_sums<kPanels>(group, 0);
}

// The outputs of kPanels more panels of dims.
template <int32_t kPanels>
HWY_INLINE void output(const AttentionShape& shape, const RowGroup& group, int32_t dim) {
  const char* weights = reinterpret_cast<const char*>(group.scratch->scores);
  zero_sums<kPanels>();
  for (int32_t step = group.steps.first; step < group.steps.last; ++step) {
    const char* values = values_at(shape, group, step, dim);
    amx::load<4>(weights + step * amx::kRowBytes, kScoreBytes);
    for_constants<kPanels>(
        [&](auto panel) HWY_ATTR { multiply_values<panel()>(values + panel() * amx::kTileBytes); });
  }
  join_sums<kPanels>(group, dim);
}

template <int32_t kRows>
void attend_scored(const AttentionShape& shape, RowGroup& group, LinesAhead& ahead) {
  maximum<kRows>(shape, group);
  int32_t dim = kMostPanels * kPanel;
  if (shape.head_dim >= dim) {
    weigh_and_output<kRows, kMostPanels>(shape, group, ahead);
  } else {
    dim = kFewPanels * kPanel;
    weigh_and_output<kRows, kFewPanels>(shape, group, ahead);
  }
  for (; dim + kMostPanels * kPanel <= shape.head_dim; dim += kMostPanels * kPanel)
    output<kMostPanels>(shape, group, dim);
  if (dim < shape.head_dim) output<kFewPanels>(shape, group, dim);
  HWY_ALIGN float sums[kGroupRows];
  const F32 d;
  const auto total = [&](int32_t r)
                         HWY_ATTR { return hn::Load(d, group.totals + r % kRows * kPanel); };
  hn::Store(combine_sixteen(total, [](V a, V b) HWY_ATTR { return hn::Add(a, b); }), d, sums);
  group.join.end(sums);
}

// By rows of the group, in fours: weights of rows that nobody has would cost as much as others.
using AttendScored = void (*)(const AttentionShape&, RowGroup&, LinesAhead&);
constexpr AttendScored kAttendScored[] = {attend_scored<4>, attend_scored<8>, attend_scored<12>,
                                          attend_scored<16>};

}  // namespace

int64_t amx_attention_scratch_size(const AttentionShape& shape) {
  return kGroupRows * (kQueryStride + kScoreStride) + kMostPanels * kTileFloats +
         values_bytes(shape.head_dim) / 4;
}

void amx_attend(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                const AttentionRow* rows, int32_t count, float* scratch) {
  const amx::Tiles tiles;
  const AmxScratch parts = split_amx_scratch(scratch);
  const KeyRange keys = keys_of(rows, count);
  const KeyRange steps = steps_of(keys);
  copy_values(cut, keys, steps, shape.head_dim, parts.values);
  const int32_t groups = (count + kGroupRows - 1) / kGroupRows;
  LinesAhead ahead(next, shape.head_dim,
                   groups * (steps.last - steps.first) * turns_of_step(shape));
  RowGroup group;
  group.scratch = &parts;
  for (int32_t first = 0; first < count; first += kGroupRows) {
    group.rows = rows + first;
    group.count = std::min(kGroupRows, count - first);
    const KeyRange seen = keys_of(group.rows, group.count);
    group.steps = steps_of(seen);
    group.panels = {kStepPanels * group.steps.first, (seen.last + kPanel - 1) / kPanel};
    for (int32_t r = 0; r < group.count; ++r)
      load_queries<1, Bf16Dots>(shape, group.rows + r, parts.query + r * kQueryStride);
    score_any(shape, cut, group, ahead);
    kAttendScored[(group.count - 1) / 4](shape, group, ahead);
  }
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE && defined(__x86_64__)
namespace block_attention {

int64_t amx_attention_scratch_size(const AttentionShape& shape) {
  return N_AVX3::amx_attention_scratch_size(shape);
}

void amx_attend(const AttentionShape& shape, const AttentionCut& cut, const AttentionCut* next,
                const AttentionRow* rows, int32_t count, float* scratch) {
  N_AVX3::amx_attend(shape, cut, next, rows, count, scratch);
}

}  // namespace block_attention
#endif
