// The integers of one group of activations, in registers (compiled once per Highway target): words
// of 16 bits, from which the formats of int8_format.hpp are a step away. Packing is done by block
// of 16 bytes on x86, so words and bytes are put in order no sooner than they are stored.
#if defined(BLOCK_ATTENTION_CPU_INT8_WORDS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef BLOCK_ATTENTION_CPU_INT8_WORDS_INL
#undef BLOCK_ATTENTION_CPU_INT8_WORDS_INL
#else
#define BLOCK_ATTENTION_CPU_INT8_WORDS_INL
#endif

#include <cstdint>

#include "cpu/int8_format.hpp"
#include "cpu/int8_group-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR
using DW = hn::Rebind<int16_t, DI>;
#else
using DW = hn::Repartition<int16_t, DI>;
#endif
using VW = hn::Vec<DW>;
constexpr auto kWords = static_cast<int64_t>(hn::MaxLanes(DW()));

constexpr int64_t kWordVectors = kInt8Group / kWords;
// No structure, since GCC compiles the constructor of one for no target but the oldest.
using Words = VW[kWordVectors];

// integers(i): those from i on.
template <typename Integers>
HWY_INLINE void to_words(Integers integers, Words& words) {
  for (int64_t i = 0; i < kWordVectors; ++i) {
    const int64_t at = i * kWords;
#if HWY_TARGET == HWY_SCALAR
    words[i] = hn::DemoteTo(DW(), integers(at));
#else
    words[i] = hn::ReorderDemote2To(DW(), integers(at), integers(at + kLanes));
#endif
  }
}

// All lanes together: the sum of squares.
HWY_INLINE VI square_words(const Words& words) {
  auto squares = hn::Zero(DI());
  auto others = hn::Zero(DI());
  for (const VW& word : words)
    squares = hn::ReorderWidenMulAccumulate(DI(), word, word, squares, others);
  return hn::Add(squares, others);
}

// All lanes together: the sum of magnitudes of negative words.
HWY_INLINE VI negative_magnitudes(const Words& words) {
  auto sum = hn::Zero(DW());
  for (const VW& word : words) sum = hn::Add(sum, hn::Min(word, hn::Zero(DW())));
  auto others = hn::Zero(DI());
  const auto low =
      hn::ReorderWidenMulAccumulate(DI(), sum, hn::Set(DW(), -1), hn::Zero(DI()), others);
  return hn::Add(low, others);
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
// Where the words of 32 bits of a vector in order lie in one that was packed from kFrom vectors, by
// block.
template <int32_t kFrom>
struct PackedOrder {
  int32_t from[kLanes];
  constexpr PackedOrder() : from() {
    constexpr int32_t kSize = 4 / kFrom;  // of what a block has of each
    constexpr int32_t kBlocks = kLanes / 4;
    for (int32_t i = 0; i < kLanes; ++i) {
      const int32_t part = i / kSize;
      from[i] = part % kBlocks * 4 + part / kBlocks * kSize + i % kSize;
    }
  }
};

template <int32_t kFrom, typename Packed>
HWY_INLINE void store_in_order(Packed packed, void* out) {
  static constexpr PackedOrder<kFrom> kOrder;
  const auto lanes = hn::BitCast(DI(), packed);
  hn::StoreU(hn::TableLookupLanes(lanes, hn::SetTableIndices(DI(), kOrder.from)), DI(),
             static_cast<int32_t*>(out));
}

// As bytes of type T.
template <typename T>
HWY_INLINE hn::Vec<hn::Repartition<T, DI>> pack(VW low, VW high) {
  constexpr bool kSigned = hwy::IsSigned<T>();
#if HWY_TARGET == HWY_AVX3
  return {kSigned ? _mm512_packs_epi16(low.raw, high.raw) : _mm512_packus_epi16(low.raw, high.raw)};
#else
  return {kSigned ? _mm256_packs_epi16(low.raw, high.raw) : _mm256_packus_epi16(low.raw, high.raw)};
#endif
}

HWY_INLINE void store_words(const Words& words, char* out) {
  for (int64_t i = 0; i < kWordVectors; ++i) store_in_order<2>(words[i], out + i * kWords * 2);
}

// byte(word): what is kept of it, in the range of T.
template <typename T, typename Byte>
HWY_INLINE void store_bytes(const Words& words, Byte byte, char* out) {
  for (int64_t i = 0; i < kWordVectors; i += 2) {
    store_in_order<4>(pack<T>(byte(words[i]), byte(words[i + 1])), out + i * kWords);
  }
}
#else
HWY_INLINE void store_words(const Words& words, char* out) {
  for (int64_t i = 0; i < kWordVectors; ++i)
    hn::StoreU(words[i], DW(), reinterpret_cast<int16_t*>(out) + i * kWords);
}

// byte(word): what is kept of it, in the range of T.
template <typename T, typename Byte>
HWY_INLINE void store_bytes(const Words& words, Byte byte, char* out) {
  const hn::Rebind<T, DW> bytes;
  for (int64_t i = 0; i < kWordVectors; ++i) {
    hn::StoreU(hn::DemoteTo(bytes, byte(words[i])), bytes, reinterpret_cast<T*>(out) + i * kWords);
  }
}
#endif

// Keeps a row's group at `out`.
template <Int8Dot kDot>
HWY_INLINE void keep_words(const Words& words, char* out) {
  if constexpr (kDot == Int8Dot::kPairs) {
    store_words(words, out);
  } else if constexpr (kDot == Int8Dot::kQuads) {
    const auto magnitude = [](VW word) HWY_ATTR { return hn::Abs(word); };
    store_bytes<uint8_t>(words, magnitude, out);
    const auto sign = [](VW word) HWY_ATTR { return hn::ShiftRight<15>(word); };
    store_bytes<int8_t>(words, sign, out + kInt8Group);
  } else {
    const auto half = [](VW word) HWY_ATTR { return hn::ShiftRight<1>(word); };
    const auto rest = [&](VW word) HWY_ATTR { return hn::Sub(word, half(word)); };
    store_bytes<int8_t>(words, half, out);
    store_bytes<int8_t>(words, rest, out + kInt8Group);
  }
}

}  // namespace
}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
