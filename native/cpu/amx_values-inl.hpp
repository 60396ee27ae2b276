// The values of a cut as tiles of AMX take them: 32 keys, pair by pair, times 16 dims. A page has
// eight of the sixteen pairs (compiled for AVX-512 alone).
#if defined(BLOCK_ATTENTION_CPU_AMX_VALUES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_AMX_VALUES_INL
#undef BLOCK_ATTENTION_CPU_AMX_VALUES_INL
#else
#define BLOCK_ATTENTION_CPU_AMX_VALUES_INL
#endif

#include <cstdint>

#include "cpu/amx_tiles.hpp"
#include "cpu/attention_softmax-inl.hpp"
#include "hwy/highway.h"

#if HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Of a product that sums over keys.
constexpr int32_t kStepKeys = 32;
constexpr int32_t kStepPanels = kStepKeys / kPanel;

// Of all values of a cut.
constexpr int64_t values_bytes(int32_t head_dim) { return int64_t{kCutKeys} * head_dim * 2; }

// The values of `steps`, tile by tile: [step][head_dim / 16]. Slots outside of `keys` may hold
// anything, which not even a weight of zero would make zero: they are zero here.
inline void copy_values(const AttentionCut& cut, KeyRange keys, KeyRange steps, int32_t head_dim,
                        char* to) {
  const F32 d;
  const hn::RebindToUnsigned<F32> bits;
  const int32_t tiles = head_dim / kPanel;
  for (int32_t p = kStepPanels * steps.first; p < kStepPanels * steps.last; ++p) {
    const float* from = static_cast<const float*>(cut.v[p]);
    char* page = to + (p / kStepPanels * tiles * amx::kTileBytes) +
                 (p % kStepPanels * amx::kTileBytes / kStepPanels);
    for (int32_t pair = 0; pair < kPanel / 2; ++pair) {
      const int32_t key = p * kPanel + 2 * pair;
      const auto seen = [&](int32_t k) { return k >= keys.first && k < keys.last; };
      const auto mask =
          hn::Set(bits, (seen(key) ? 0xffffu : 0) | (seen(key + 1) ? 0xffff0000u : 0));
      for (int32_t i = 0; i < tiles; ++i) {
        const V values = seen(key) || seen(key + 1)
                             ? hn::LoadU(d, from + (pair * tiles + i) * kPanel)
                             : hn::Zero(d);
        hn::Store(hn::BitCast(d, hn::And(hn::BitCast(bits, values), mask)), d,
                  reinterpret_cast<float*>(page + i * amx::kTileBytes + pair * amx::kRowBytes));
      }
    }
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#endif
