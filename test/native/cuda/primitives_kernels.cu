#include "primitives_kernels.hpp"

#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"

namespace block_attention::cuda::test {
namespace {

template <typename E>
__global__ void __launch_bounds__(32) mma_kernel(const uint32_t* a, const uint32_t* b, float* d) {
  const int lane = static_cast<int>(threadIdx.x);
  const U32x4 words = ldg(reinterpret_cast<const U32x4*>(a) + lane);
  const uint32_t a_words[4] = {words.x[0], words.x[1], words.x[2], words.x[3]};
  const F32x4 before = ldg(reinterpret_cast<const F32x4*>(d) + lane);
  float sums[4] = {before.x[0], before.x[1], before.x[2], before.x[3]};
  mma_m16n8k16<E>(sums, a_words, ldg(b + 2 * lane), ldg(b + 2 * lane + 1));
  stg(reinterpret_cast<F32x4*>(d) + lane, F32x4{{sums[0], sums[1], sums[2], sums[3]}});
}

template <bool kTransposed>
__global__ void __launch_bounds__(32)
    ldmatrix_kernel(const uint32_t* rows, const int32_t* row_of, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const uint32_t shared = shared_base();
  sts(shared + static_cast<uint32_t>(lane) * 16, ldg(reinterpret_cast<const U32x4*>(rows) + lane));
  syncwarp();
  uint32_t r[4];
  const uint32_t address = shared + static_cast<uint32_t>(ldg(row_of + lane)) * 16;
  if constexpr (kTransposed) {
    ldmatrix_x4_trans(r, address);
  } else {
    ldmatrix_x4(r, address);
  }
  stg(reinterpret_cast<U32x4*>(out) + lane, U32x4{{r[0], r[1], r[2], r[3]}});
}

constexpr int kCopyThreads = 64;

// Two pieces per thread, one in each group; what another thread copied is read.
__global__ void __launch_bounds__(kCopyThreads)
    cp_async_kernel(int32_t pieces, const char* from, const uint8_t* valid, char* out) {
  const int thread = static_cast<int>(threadIdx.x);
  const uint32_t shared = shared_base();
  const int first = static_cast<int>(blockIdx.x) * 2 * kCopyThreads;
#pragma unroll
  for (int group = 0; group < 2; ++group) {
    const int slot = group * kCopyThreads + thread;
    const int piece = first + slot;
    const bool copies = piece < pieces && ldg(valid + (piece < pieces ? piece : 0)) != 0;
    cp_async16(shared + static_cast<uint32_t>(slot) * 16, from + int64_t{piece} * 16, copies);
    cp_async_commit();
  }
  const int other = kCopyThreads - 1 - thread;
  cp_async_wait<1>();
  syncthreads();
#pragma unroll
  for (int group = 0; group < 2; ++group) {
    const int slot = group * kCopyThreads + other;
    if (first + slot < pieces) {
      stg(reinterpret_cast<U32x4*>(out) + first + slot,
          lds<U32x4>(shared + static_cast<uint32_t>(slot) * 16));
    }
    cp_async_wait<0>();
    syncthreads();
  }
}

__global__ void __launch_bounds__(32) shuffle_kernel(const uint32_t* in, ShuffleResults* out) {
  const int lane = static_cast<int>(threadIdx.x);
  const uint32_t value = ldg(in + lane);
  ShuffleResults* mine = out + lane;
#pragma unroll
  for (int i = 0; i < 5; ++i) stg(&mine->by_xor[i], shfl_xor(value, 1 << i));
  stg(&mine->from_lane, shfl(value, (7 * lane + 3) % 32));
  const int distances[] = {0, 1, 2, 4, 8, 31};
#pragma unroll
  for (int i = 0; i < 6; ++i) stg(&mine->from_below[i], shfl_up(value, distances[i]));
  stg(&mine->ballot, ballot((value & 1) != 0));
  stg(&mine->padding, uint32_t{0});
  stg(&mine->wide_xor, shfl_xor(uint64_t{value} * 0x100000001u, 16));
  stg(&mine->real_xor, shfl_xor(static_cast<double>(value) / 3, 1));
  stg(&mine->float_xor, shfl_xor(static_cast<float>(value) / 3, 8));
  stg(&mine->padding_float, 0.0f);
}

constexpr int kThreads = 128;

DEVICE_FN int32_t own_index() {
  return static_cast<int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
}

template <typename E>
__global__ void __launch_bounds__(kThreads)
    narrow_kernel(int32_t count, const float* in, uint16_t* out) {
  const int32_t i = own_index();
  if (i < count) stg(out + i, narrow<E>(ldg(in + i)).bits);
}

template <typename E>
__global__ void __launch_bounds__(kThreads)
    pack_kernel(int32_t pairs, const float* in, uint32_t* out) {
  const int32_t i = own_index();
  if (i < pairs) stg(out + i, pack<E>(ldg(in + 2 * i), ldg(in + 2 * i + 1)));
}

template <typename E>
__global__ void __launch_bounds__(kThreads) widen_kernel(uint32_t* out) {
  const int32_t i = own_index();
  const uint32_t bits = static_cast<uint32_t>(i);
  const uint32_t packed = bits | (bits ^ 0xffffu) << 16;
  stg(out + 3 * i, bits_as<uint32_t>(widen(E{static_cast<uint16_t>(bits)})));
  stg(out + 3 * i + 1, bits_as<uint32_t>(unpack_low<E>(packed)));
  stg(out + 3 * i + 2, bits_as<uint32_t>(unpack_high<E>(packed)));
}

__global__ void __launch_bounds__(kThreads)
    exp2_kernel(int32_t count, const float* in, float* out) {
  const int32_t i = own_index();
  if (i < count) stg(out + i, exp2_approx(ldg(in + i)));
}

__global__ void __launch_bounds__(256) atomic_add_kernel(uint32_t* counters, uint32_t* before) {
  const uint32_t thread = threadIdx.x;
  const uint32_t shared = shared_base();
  if (thread < 7) sts<uint32_t>(shared + thread * 4, 1000);
  syncthreads();
  stg(before + thread, atomic_add_shared(shared + thread % 7 * 4, thread));
  syncthreads();
  if (thread < 7) stg(counters + thread, lds<uint32_t>(shared + thread * 4));
}

constexpr int kMoved = 64;  // bytes per thread

template <typename T>
DEVICE_FN void move(const char* in, uint32_t shared, char* out) {
  constexpr uint32_t kSize = sizeof(T);
  for (int streaming = 0; streaming < 2; ++streaming) {
    for (uint32_t i = 0; i < kMoved; i += kSize) {
      const T* from = reinterpret_cast<const T*>(in + i);
      sts<T>(shared + i, streaming != 0 ? ldg_streaming(from) : ldg(from));
    }
    for (uint32_t i = 0; i < kMoved; i += kSize) {
      stg(reinterpret_cast<T*>(out + streaming * kThreads * kMoved + i), lds<T>(shared + i));
    }
  }
}

__global__ void __launch_bounds__(kThreads) move_kernel(const char* in, char* out) {
  const char* from = in + threadIdx.x * kMoved;
  const uint32_t shared = shared_base() + threadIdx.x * kMoved;
  char* to = out + threadIdx.x * kMoved;
  constexpr int kPart = 2 * kThreads * kMoved;
  move<uint8_t>(from, shared, to);
  move<uint16_t>(from, shared, to + kPart);
  move<uint32_t>(from, shared, to + 2 * kPart);
  move<U32x2>(from, shared, to + 3 * kPart);
  move<U32x4>(from, shared, to + 4 * kPart);
}

// Barrier 1: the slot is full; barrier 2: it is empty again.
__global__ void __launch_bounds__(64)
    named_barriers_kernel(int32_t count, const uint32_t* in, uint32_t* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t slot = shared_base() + static_cast<uint32_t>(lane) * 4;
  if (threadIdx.x < 32) {
    for (int i = 0; i < count; ++i) {
      if (i > 0) bar_sync(2, 64);
      sts<uint32_t>(slot, ldg(in + i * 32 + lane));
      bar_arrive(1, 64);
    }
  } else {
    const uint32_t other = shared_base() + static_cast<uint32_t>(31 - lane) * 4;
    for (int i = 0; i < count; ++i) {
      bar_sync(1, 64);
      stg(out + i * 32 + 31 - lane, lds<uint32_t>(other));
      if (i + 1 < count) bar_arrive(2, 64);
    }
  }
}

__global__ void __launch_bounds__(256) indices_kernel(uint32_t* out) {
  const uint32_t block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  uint32_t* mine = out + (block * blockDim.x + threadIdx.x) * 8;
  const uint32_t values[8] = {threadIdx.x, blockIdx.x, blockIdx.y, blockIdx.z,
                              blockDim.x,  gridDim.x,  gridDim.y,  gridDim.z};
#pragma unroll
  for (int i = 0; i < 8; ++i) stg(mine + i, values[i]);
}

uint32_t blocks_for(int32_t count) {
  return (static_cast<uint32_t>(count) + kThreads - 1) / kThreads;
}

}  // namespace

void run_mma(Device& device, DType dtype, const uint32_t* a, const uint32_t* b, float* d) {
  if (dtype == DType::kBF16) {
    launch<mma_kernel<Bf16>>(device, {.threads = 32}, a, b, d);
  } else {
    launch<mma_kernel<F16>>(device, {.threads = 32}, a, b, d);
  }
}

void run_ldmatrix(Device& device, bool transposed, const uint32_t* rows, const int32_t* row_of,
                  uint32_t* r) {
  const LaunchShape shape = {.threads = 32, .shared_bytes = 32 * 16};
  if (transposed) {
    launch<ldmatrix_kernel<true>>(device, shape, rows, row_of, r);
  } else {
    launch<ldmatrix_kernel<false>>(device, shape, rows, row_of, r);
  }
}

void run_cp_async(Device& device, int32_t pieces, const char* from, const uint8_t* valid,
                  char* out) {
  constexpr uint32_t kPerBlock = 2 * kCopyThreads;
  launch<cp_async_kernel>(device,
                          {.grid = {(static_cast<uint32_t>(pieces) + kPerBlock - 1) / kPerBlock},
                           .threads = kCopyThreads,
                           .shared_bytes = kPerBlock * 16},
                          pieces, from, valid, out);
}

void run_shuffles(Device& device, const uint32_t* in, ShuffleResults* out) {
  launch<shuffle_kernel>(device, {.threads = 32}, in, out);
}

void run_narrow(Device& device, DType dtype, int32_t count, const float* in, uint16_t* out) {
  const LaunchShape shape = {.grid = {blocks_for(count)}, .threads = kThreads};
  if (dtype == DType::kBF16) {
    launch<narrow_kernel<Bf16>>(device, shape, count, in, out);
  } else {
    launch<narrow_kernel<F16>>(device, shape, count, in, out);
  }
}

void run_pack(Device& device, DType dtype, int32_t pairs, const float* in, uint32_t* out) {
  const LaunchShape shape = {.grid = {blocks_for(pairs)}, .threads = kThreads};
  if (dtype == DType::kBF16) {
    launch<pack_kernel<Bf16>>(device, shape, pairs, in, out);
  } else {
    launch<pack_kernel<F16>>(device, shape, pairs, in, out);
  }
}

void run_widen(Device& device, DType dtype, uint32_t* out) {
  const LaunchShape shape = {.grid = {65536 / kThreads}, .threads = kThreads};
  if (dtype == DType::kBF16) {
    launch<widen_kernel<Bf16>>(device, shape, out);
  } else {
    launch<widen_kernel<F16>>(device, shape, out);
  }
}

void run_exp2(Device& device, int32_t count, const float* in, float* out) {
  launch<exp2_kernel>(device, {.grid = {blocks_for(count)}, .threads = kThreads}, count, in, out);
}

void run_atomic_add(Device& device, uint32_t* counters, uint32_t* before) {
  launch<atomic_add_kernel>(device, {.threads = 256, .shared_bytes = 28}, counters, before);
}

void run_moves(Device& device, const char* in, char* out) {
  launch<move_kernel>(device, {.threads = kThreads, .shared_bytes = kThreads * kMoved}, in, out);
}

void run_named_barriers(Device& device, int32_t count, const uint32_t* in, uint32_t* out) {
  launch<named_barriers_kernel>(device, {.threads = 64, .shared_bytes = 128}, count, in, out);
}

void run_indices(Device& device, uint32_t x, uint32_t y, uint32_t z, uint32_t threads,
                 uint32_t* out) {
  launch<indices_kernel>(device, {.grid = {x, y, z}, .threads = threads}, out);
}

}  // namespace block_attention::cuda::test
