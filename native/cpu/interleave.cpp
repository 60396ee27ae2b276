#include "cpu/interleave.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/interleave.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace block_attention::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
void interleave_scalar(const void* const* rows, int64_t begin, int64_t count, int64_t first,
                       int64_t length, T* dst, int64_t step) {
  for (int64_t i = begin; i < count; ++i) {
    const char* row = static_cast<const char*>(rows[i]);
    for (int64_t k = first; k < length; ++k) {
      hwy::CopyBytes<sizeof(T)>(row + k * static_cast<int64_t>(sizeof(T)), dst + k * step + i);
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
// One square of 128-bit vectors. Each pass interleaves the upper half of the list with the lower
// half; after log2(lanes) passes (a perfect shuffle each) the square is transposed.
template <typename T>
HWY_INLINE void interleave_square(const void* const* rows, int64_t k, T* dst, int64_t step) {
  constexpr int kLanes = 16 / sizeof(T);
  const hn::FixedTag<T, kLanes> d;
  using V = hn::Vec<decltype(d)>;
  V a[kLanes];
  V b[kLanes];
  HWY_UNROLL(8)
  for (int i = 0; i < kLanes; ++i) a[i] = hn::LoadU(d, static_cast<const T*>(rows[i]) + k);
  HWY_UNROLL(3)
  for (int pass = kLanes; pass > 1; pass /= 2) {
    HWY_UNROLL(4)
    for (int i = 0; i < kLanes / 2; ++i) {
      b[2 * i] = hn::InterleaveLower(d, a[i], a[i + kLanes / 2]);
      b[2 * i + 1] = hn::InterleaveUpper(d, a[i], a[i + kLanes / 2]);
    }
    HWY_UNROLL(8)
    for (int i = 0; i < kLanes; ++i) a[i] = b[i];
  }
  HWY_UNROLL(8)
  for (int i = 0; i < kLanes; ++i) hn::StoreU(a[i], d, dst + (k + i) * step);
}
#endif

template <typename T>
void interleave(const void* const* rows, int64_t count, int64_t length, T* dst, int64_t step) {
#if HWY_TARGET == HWY_SCALAR
  interleave_scalar(rows, 0, count, 0, length, dst, step);
#else
  constexpr int64_t kLanes = 16 / sizeof(T);
  if (count < kLanes) {
    interleave_scalar(rows, 0, count, 0, length, dst, step);
    return;
  }
  const int64_t whole = length - length % kLanes;
  for (int64_t k = 0; k < whole; k += kLanes) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) interleave_square(rows + i, k, dst + i, step);
    // The rows left over are done together with some before them, which get the same values again.
    if (i < count) interleave_square(rows + count - kLanes, k, dst + count - kLanes, step);
  }
  interleave_scalar(rows, 0, count, whole, length, dst, step);
#endif
}

void interleave16(const void* const* rows, int64_t count, int64_t length, void* dst, int64_t step) {
  interleave(rows, count, length, static_cast<uint16_t*>(dst), step);
}

void interleave32(const void* const* rows, int64_t count, int64_t length, void* dst, int64_t step) {
  interleave(rows, count, length, static_cast<uint32_t*>(dst), step);
}

}  // namespace block_attention::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace block_attention {

InterleaveKernels interleave_kernels(Isa isa) {
  return {BLOCK_ATTENTION_KERNEL(isa, interleave16), BLOCK_ATTENTION_KERNEL(isa, interleave32)};
}

}  // namespace block_attention
#endif
