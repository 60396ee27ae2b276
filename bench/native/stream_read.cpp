#include "stream_read.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "stream_read.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// kStreams runs side by side, each with its own sums; kAhead: bytes of software prefetch, 0 for
// none.
template <int kStreams, int kAhead>
uint32_t stream_read(const void* data, size_t bytes) {
  using D = hn::CappedTag<uint32_t, 16>;
  const D d;
  constexpr int kVectors = 64 / static_cast<int>(hn::MaxLanes(d) * sizeof(uint32_t));
  hn::Vec<D> sums[kStreams][kVectors];
  HWY_UNROLL(8)
  for (int s = 0; s < kStreams; ++s) {
    HWY_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) sums[s][v] = hn::Zero(d);
  }
  const size_t run = bytes / kStreams;
  const char* from = static_cast<const char*>(data);
  for (size_t at = 0; at < run; at += 64) {
    HWY_UNROLL(8)
    for (int s = 0; s < kStreams; ++s) {
      const char* line = from + static_cast<size_t>(s) * run + at;
      if (kAhead > 0) hwy::Prefetch(line + kAhead);
      HWY_UNROLL(16)
      for (int v = 0; v < kVectors; ++v) {
        const auto* words =
            reinterpret_cast<const uint32_t*>(line) + v * static_cast<int>(hn::MaxLanes(d));
        sums[s][v] = hn::Xor(sums[s][v], hn::Load(d, words));
      }
    }
  }
  auto sum = hn::Zero(d);
  for (int s = 0; s < kStreams; ++s) {
    for (int v = 0; v < kVectors; ++v) sum = hn::Xor(sum, sums[s][v]);
  }
  return hn::GetLane(sum);
}

uint32_t one_stream(const void* data, size_t bytes) { return stream_read<1, 0>(data, bytes); }
uint32_t four_streams(const void* data, size_t bytes) { return stream_read<4, 0>(data, bytes); }
uint32_t one_stream_ahead(const void* data, size_t bytes) {
  return stream_read<1, 1024>(data, bytes);
}
uint32_t two_streams_ahead(const void* data, size_t bytes) {
  return stream_read<2, 1024>(data, bytes);
}
uint32_t four_streams_ahead(const void* data, size_t bytes) {
  return stream_read<4, 1024>(data, bytes);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

std::vector<StreamRead> stream_reads(Isa isa) {
  return {{"one stream", BLOCK_ATTENTION_KERNEL(isa, one_stream)},
          {"four streams", BLOCK_ATTENTION_KERNEL(isa, four_streams)},
          {"one stream, prefetch", BLOCK_ATTENTION_KERNEL(isa, one_stream_ahead)},
          {"two streams, prefetch", BLOCK_ATTENTION_KERNEL(isa, two_streams_ahead)},
          {"four streams, prefetch", BLOCK_ATTENTION_KERNEL(isa, four_streams_ahead)}};
}

}  // namespace block_attention
#endif
