#include "hopper_primitives_kernels.hpp"

#include "cuda/chunk_offset.cuh"
#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"
#include "cuda/tensor_map.cuh"

namespace block_attention::cuda::test {
namespace {

constexpr int kGroupThreads = 128;
constexpr uint32_t kEightRows = 8 * 128;  // bytes of a panel
constexpr uint32_t kBoxBytes = kBoxRows * kBoxCols * 2;

// ---- wgmma

// From a dense matrix to panels of 64 columns.
template <int kRows, int kCols>
DEVICE_FN void store_panels(uint32_t to, const uint16_t* from) {
  constexpr int kChunks = kCols / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kGroupThreads) {
    sts(to + panel_offset<kRows>(i / kChunks, i % kChunks),
        ldg(reinterpret_cast<const U32x4*>(from) + i));
  }
}

// The lane's first row and column of a warp's 16 rows of accumulators, which mma_m16n8k16 and
// wgmma_m64k16 lay out alike.
DEVICE_FN int own_row() {
  return static_cast<int>(threadIdx.x) / 32 * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
}
DEVICE_FN int own_col() { return static_cast<int>(threadIdx.x) % 4 * 2; }

template <int kCols>
DEVICE_FN void load_sums(float (&sums)[kCols / 2], const float* d) {
#pragma unroll
  for (int i = 0; i < kCols / 4; ++i) {
    const float* from = d + (own_row() + i % 2 * 8) * kCols + i / 2 * 8 + own_col();
    const F32x2 two = ldg(reinterpret_cast<const F32x2*>(from));
    sums[2 * i] = two.x[0];
    sums[2 * i + 1] = two.x[1];
  }
}

template <int kCols>
DEVICE_FN void store_sums(float* d, const float (&sums)[kCols / 2]) {
#pragma unroll
  for (int i = 0; i < kCols / 4; ++i) {
    float* to = d + (own_row() + i % 2 * 8) * kCols + i / 2 * 8 + own_col();
    stg(reinterpret_cast<F32x2*>(to), F32x2{{sums[2 * i], sums[2 * i + 1]}});
  }
}

// The lane's part of 16 columns of a, from column k on.
template <int kDepth>
DEVICE_FN void load_a(uint32_t (&words)[4], const uint16_t* a, int k) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int row = own_row() + r % 2 * 8;
    words[r] = ldg(reinterpret_cast<const uint32_t*>(a + row * kDepth + k + r / 2 * 8 + own_col()));
  }
}

template <typename E, int kCols, int kTransB, bool kRegistersA>
__global__ void __launch_bounds__(kGroupThreads)
    wgmma_kernel(bool accumulates, const uint16_t* a, const uint16_t* b, float* d) {
  constexpr int kSteps = kProductDepth / 16;
  constexpr uint32_t kPanelA = kProductRows * 128;
  constexpr uint32_t kPanelB = (kTransB != 0 ? kProductDepth : kCols) * 128;
  const auto block = static_cast<int64_t>(blockIdx.x);
  a += block * kProductRows * kProductDepth;
  b += block * kProductDepth * kCols;
  d += block * kProductRows * kCols;
  const uint32_t shared_a = shared_base();
  const uint32_t shared_b = shared_a + 2 * kPanelA;
  store_panels<kProductRows, kProductDepth>(shared_a, a);
  if constexpr (kTransB != 0) {
    store_panels<kProductDepth, kCols>(shared_b, b);
  } else {
    store_panels<kCols, kProductDepth>(shared_b, b);
  }
  fence_proxy_async();
  syncthreads();

  float sums[kCols / 2];
  load_sums<kCols>(sums, d);
  uint32_t words[kSteps][4];
  if constexpr (kRegistersA) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) load_a<kProductDepth>(words[step], a, 16 * step);
  }
  wgmma_fence(sums);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const auto in_panel = static_cast<uint32_t>(step % 4 * 32);
    const auto panel = static_cast<uint32_t>(step / 4);
    const uint64_t part_b =
        kTransB != 0 ? wgmma_descriptor(shared_b + static_cast<uint32_t>(step) * 2 * kEightRows,
                                        kPanelB, kEightRows)
                     : wgmma_descriptor(shared_b + panel * kPanelB + in_panel, 16, kEightRows);
    const bool adds = step > 0 || accumulates;
    if constexpr (kRegistersA) {
      wgmma_m64k16<E, kTransB, kCols>(sums, words[step], part_b, adds);
    } else {
      wgmma_m64k16<E, kTransB, kCols>(
          sums, wgmma_descriptor(shared_a + panel * kPanelA + in_panel, 16, kEightRows), part_b,
          adds);
    }
  }
  wgmma_commit();
  wgmma_wait<0>(sums);
  store_sums<kCols>(d, sums);
}

// Two elements of column n of b, k and the next.
template <int kCols, int kTransB>
DEVICE_FN uint32_t two_of_b(const uint16_t* b, int k, int n) {
  if constexpr (kTransB != 0) {
    return ldg(b + k * kCols + n) | uint32_t{ldg(b + (k + 1) * kCols + n)} << 16;
  } else {
    return ldg(reinterpret_cast<const uint32_t*>(b + n * kProductDepth + k));
  }
}

// Neither shared memory nor ldmatrix, so that nothing is placed as for wgmma.
template <typename E, int kCols, int kTransB>
__global__ void __launch_bounds__(kGroupThreads)
    mma_chain_kernel(bool accumulates, const uint16_t* a, const uint16_t* b, float* d) {
  const auto block = static_cast<int64_t>(blockIdx.x);
  a += block * kProductRows * kProductDepth;
  b += block * kProductDepth * kCols;
  d += block * kProductRows * kCols;
  const int col_of_b = static_cast<int>(threadIdx.x) % 32 / 4;
  float sums[kCols / 2] = {};
  if (accumulates) load_sums<kCols>(sums, d);
#pragma unroll 1
  for (int k = 0; k < kProductDepth; k += 16) {
    uint32_t words[4];
    load_a<kProductDepth>(words, a, k);
#pragma unroll
    for (int j = 0; j < kCols / 8; ++j) {
      const int n = 8 * j + col_of_b;
      mma_m16n8k16<E>(reinterpret_cast<float(&)[4]>(sums[4 * j]), words,
                      two_of_b<kCols, kTransB>(b, k + own_col(), n),
                      two_of_b<kCols, kTransB>(b, k + 8 + own_col(), n));
    }
  }
  store_sums<kCols>(d, sums);
}

// Calls call.operator()<E, kCols, kTransB>().
template <typename Call>
void for_shape(const ProductShape& shape, Call&& call) {
  const auto with_type = [&]<typename E>() {
    if (shape.cols == 64 && !shape.transposed_b) call.template operator()<E, 64, 0>();
    if (shape.cols == 64 && shape.transposed_b) call.template operator()<E, 64, 1>();
    if (shape.cols == 128 && !shape.transposed_b) call.template operator()<E, 128, 0>();
    if (shape.cols == 128 && shape.transposed_b) call.template operator()<E, 128, 1>();
  };
  if (shape.dtype == DType::kBF16) {
    with_type.template operator()<Bf16>();
  } else {
    with_type.template operator()<F16>();
  }
}

// ---- TMA

__global__ void __launch_bounds__(32)
    box_copies_kernel(const __grid_constant__ TensorMap map, const int32_t* places, uint16_t* out) {
  constexpr int kChunks = kBoxCols / 8;
  const int lane = static_cast<int>(threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * kBoxesOfBarrier;
  const uint32_t boxes = shared_base();
  const uint32_t bar = boxes + kBoxesOfBarrier * kBoxBytes;
  // What a copy does not write is seen.
  const U32x4 poison = {{~0u, ~0u, ~0u, ~0u}};
  for (uint32_t i = threadIdx.x * 16; i < kBoxesOfBarrier * kBoxBytes; i += 32 * 16) {
    sts(boxes + i, poison);
  }
  fence_proxy_async();
  syncwarp();
  if (lane == 0) {
    mbar_init(bar, 1);
    fence_mbar_init();
    mbar_expect_tx(bar, kBoxesOfBarrier * kBoxBytes);
  }
  syncwarp();
  if (lane < kBoxesOfBarrier) {
    const int32_t* place = places + (first + lane) * 2;
    tma_load_2d(boxes + static_cast<uint32_t>(lane) * kBoxBytes, &map, ldg(place), ldg(place + 1),
                bar);
  }
  mbar_wait(bar, 0);
  for (int i = lane; i < kBoxesOfBarrier * kBoxRows * kChunks; i += 32) {
    const int row = i / kChunks % kBoxRows;
    const uint32_t box = boxes + static_cast<uint32_t>(i / kChunks / kBoxRows) * kBoxBytes;
    stg(reinterpret_cast<U32x4*>(out) + first * kBoxRows * kChunks + i,
        lds<U32x4>(box + panel_offset<kBoxRows>(row, i % kChunks)));
  }
}

// ---- mbarrier

constexpr int kRingSlots = 3;
constexpr uint32_t kRingNumbers = kRingSlots * kBoxBytes;
constexpr uint32_t kRingBarriers = kRingNumbers + kRingSlots * 32 * 4;
constexpr uint32_t kRingBytes = kRingBarriers + kRingSlots * 16;

// A slot is full when the bytes of its box have come and all lanes of the producer have arrived,
// and empty when the four other warps have.
__global__ void __launch_bounds__(kRingThreads + 32)
    ring_kernel(const __grid_constant__ TensorMap map, int boxes, const uint32_t* numbers,
                uint16_t* out, uint32_t* numbers_out) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int first = static_cast<int>(blockIdx.x) * boxes;
  const uint32_t ring = shared_base();
  if (thread == 0) {
    for (uint32_t slot = 0; slot < kRingSlots; ++slot) {
      mbar_init(ring + kRingBarriers + slot * 16, 32);
      mbar_init(ring + kRingBarriers + slot * 16 + 8, kRingThreads / 32);
    }
    fence_mbar_init();
  }
  syncthreads();
#pragma unroll 1
  for (int i = 0; i < boxes; ++i) {
    const auto slot = static_cast<uint32_t>(i % kRingSlots);
    const auto turn = static_cast<uint32_t>(i / kRingSlots % 2);
    const uint32_t box = ring + slot * kBoxBytes;
    const uint32_t slot_numbers = ring + kRingNumbers + slot * 32 * 4;
    const uint32_t full = ring + kRingBarriers + slot * 16;
    const uint32_t empty = full + 8;
    const int at = first + i;
    if (thread >= kRingThreads) {
      if (i >= kRingSlots) mbar_wait(empty, turn ^ 1);
      sts(slot_numbers + static_cast<uint32_t>(lane) * 4, ldg(numbers + at * 32 + lane));
      if (lane == 0) {
        mbar_expect_tx(full, kBoxBytes);
        tma_load_2d(box, &map, 0, at * kBoxRows, full);
      } else {
        mbar_arrive(full);
      }
    } else {
      mbar_wait(full, turn);
      stg(reinterpret_cast<U32x4*>(out) + at * kRingThreads + thread,
          lds<U32x4>(box + panel_offset<kBoxRows>(thread / 8, thread % 8)));
      stg(numbers_out + at * kRingThreads + thread,
          lds<uint32_t>(slot_numbers + static_cast<uint32_t>(31 - lane) * 4));
      syncwarp();
      if (lane == 0) mbar_arrive(empty);
    }
  }
}

// ---- slots that are filled in two ways

constexpr int kSlotRows = 64;
constexpr int kMixedSlots = 2;
constexpr uint32_t kSlotBytes = kSlotRows * kBoxCols * 2;
constexpr uint32_t kMixedBytes = kMixedSlots * (kSlotBytes + 16);

// For one warp: rows of a step, the first of them at `rows`, which is row `first` of the matrix.
DEVICE_FN void fill_slot(uint32_t slot, uint32_t full, const TensorMap* map, int first,
                         const uint16_t* rows, int length) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int boxes = length / kBoxRows;
  if (boxes * kBoxRows < kSlotRows) {
    for (int i = boxes * kBoxRows * 8 + lane; i < kSlotRows * 8; i += 32) {
      cp_async16(slot + panel_offset<kSlotRows>(i / 8, i % 8), rows + i * 8, i / 8 < length);
    }
    cp_async_commit();
    cp_async_wait<0>();
    fence_proxy_async();
    syncwarp();
  }
  if (lane == 0) mbar_expect_tx(full, static_cast<uint32_t>(boxes) * kBoxBytes);
  syncwarp();
  if (lane >= boxes) return;
  tma_load_2d(slot + static_cast<uint32_t>(lane) * kBoxBytes, map, 0, first + lane * kBoxRows,
              full);
}

template <int kTransB>
DEVICE_FN void multiply_slot(float* d, uint32_t slot, uint32_t full, uint32_t turn, uint32_t empty,
                             const uint32_t (&a)[4][4]) {
  float sums[kBoxCols / 2];
  mbar_wait(full, turn);
  wgmma_fence(sums);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const auto offset = static_cast<uint32_t>(step) * (kTransB != 0 ? 2 * kEightRows : 32);
    wgmma_m64k16<Bf16, kTransB, kBoxCols>(
        sums, a[step], wgmma_descriptor(slot + offset, 16, kEightRows), step > 0);
  }
  wgmma_commit();
  wgmma_wait<0>(sums);
  if (threadIdx.x % 32 == 0) mbar_arrive(empty);
  store_sums<kBoxCols>(d, sums);
}

template <int kTransB>
__global__ void __launch_bounds__(kGroupThreads + 32)
    mixed_slots_kernel(const __grid_constant__ TensorMap map, const uint16_t* rows, int steps,
                       const int32_t* lengths, const uint16_t* a, float* d) {
  const int thread = static_cast<int>(threadIdx.x);
  const uint32_t slots = shared_base();
  const uint32_t barriers = slots + kMixedSlots * kSlotBytes;
  if (thread == 0) {
    for (uint32_t slot = 0; slot < kMixedSlots; ++slot) {
      mbar_init(barriers + slot * 16, 1);
      mbar_init(barriers + slot * 16 + 8, kGroupThreads / 32);
    }
    fence_mbar_init();
  }
  syncthreads();
  uint32_t words[4][4] = {};
  if (thread < kGroupThreads) {
#pragma unroll
    for (int k = 0; k < 4; ++k) load_a<kBoxCols>(words[k], a, k * 16);
  }
#pragma unroll 1
  for (int i = 0; i < steps; ++i) {
    const auto slot = static_cast<uint32_t>(i % kMixedSlots);
    const auto turn = static_cast<uint32_t>(i / kMixedSlots % 2);
    const uint32_t at = slots + slot * kSlotBytes;
    const uint32_t full = barriers + slot * 16;
    const uint32_t empty = full + 8;
    const int step = static_cast<int>(blockIdx.x) * steps + i;
    if (thread < kGroupThreads) {
      multiply_slot<kTransB>(d + step * kProductRows * kBoxCols, at, full, turn, empty, words);
    } else {
      if (i >= kMixedSlots) mbar_wait(empty, turn ^ 1);
      fill_slot(at, full, &map, step * kSlotRows, rows + step * kSlotRows * kBoxCols,
                ldg(lengths + step));
    }
  }
}

TensorMap box_map(const HalfMatrix& matrix) {
  return matrix_map(matrix.data, static_cast<uint64_t>(matrix.rows),
                    static_cast<uint32_t>(matrix.cols), kBoxRows, kBoxCols);
}

}  // namespace

void run_wgmma(Device& device, const ProductShape& shape, bool registers_a, const uint16_t* a,
               const uint16_t* b, float* d) {
  const LaunchShape launch_shape = {
      .grid = {shape.count},
      .threads = kGroupThreads,
      .shared_bytes = static_cast<uint32_t>((kProductRows + shape.cols) * kProductDepth * 2)};
  for_shape(shape, [&]<typename E, int kCols, int kTransB>() {
    if (registers_a) {
      launch<wgmma_kernel<E, kCols, kTransB, true>>(device, launch_shape, shape.accumulates, a, b,
                                                    d);
    } else {
      launch<wgmma_kernel<E, kCols, kTransB, false>>(device, launch_shape, shape.accumulates, a, b,
                                                     d);
    }
  });
}

void run_mma_chain(Device& device, const ProductShape& shape, const uint16_t* a, const uint16_t* b,
                   float* d) {
  for_shape(shape, [&]<typename E, int kCols, int kTransB>() {
    launch<mma_chain_kernel<E, kCols, kTransB>>(
        device, {.grid = {shape.count}, .threads = kGroupThreads}, shape.accumulates, a, b, d);
  });
}

void run_box_copies(Device& device, const HalfMatrix& matrix, int count, const int32_t* places,
                    uint16_t* out) {
  launch<box_copies_kernel>(device,
                            {.grid = {static_cast<uint32_t>(count / kBoxesOfBarrier)},
                             .shared_bytes = kBoxesOfBarrier * kBoxBytes + 8},
                            box_map(matrix), places, out);
}

void run_ring(Device& device, const HalfMatrix& matrix, uint32_t blocks, int boxes,
              const uint32_t* numbers, uint16_t* out, uint32_t* numbers_out) {
  launch<ring_kernel>(device,
                      {.grid = {blocks}, .threads = kRingThreads + 32, .shared_bytes = kRingBytes},
                      box_map(matrix), boxes, numbers, out, numbers_out);
}

void run_mixed_slots(Device& device, const HalfMatrix& matrix, bool transposed_b, uint32_t blocks,
                     int steps, const int32_t* lengths, const uint16_t* a, float* d) {
  const LaunchShape shape = {
      .grid = {blocks}, .threads = kGroupThreads + 32, .shared_bytes = kMixedBytes};
  if (transposed_b) {
    launch<mixed_slots_kernel<1>>(device, shape, box_map(matrix), matrix.data, steps, lengths, a,
                                  d);
  } else {
    launch<mixed_slots_kernel<0>>(device, shape, box_map(matrix), matrix.data, steps, lengths, a,
                                  d);
  }
}

}  // namespace block_attention::cuda::test
