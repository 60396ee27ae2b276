// Everything that a kernel does to a GPU: memory, barriers, warp shuffles, tensor cores. The only
// file with inline PTX; under any other compiler than nvcc the same names come from the emulation
// (test/native/cuda/emulator), which runs kernels on the CPU and checks every access.
//
// Shared memory is a 32-bit address on both sides, never a pointer. All 32 lanes of a warp must
// reach every collective (shuffles, ballot, ldmatrix, mma, barriers).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace block_attention::cuda {

// Element types of activations, weights, keys and values: their bits, and nothing that converts by
// itself.
struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

// What one load or store moves at once.
struct alignas(8) U32x2 {
  uint32_t x[2];
};
struct alignas(16) U32x4 {
  uint32_t x[4];
};
struct alignas(8) F32x2 {
  float x[2];
};
struct alignas(16) F32x4 {
  float x[4];
};

template <typename T>
inline constexpr bool is_element = std::is_same_v<T, Bf16> || std::is_same_v<T, F16>;

template <typename T>
inline constexpr bool is_loadable = std::is_trivially_copyable_v<T> &&
                                    (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 ||
                                     sizeof(T) == 8 || sizeof(T) == 16);

template <typename T>
inline constexpr bool is_shuffled = std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);

}  // namespace block_attention::cuda

#ifdef __CUDACC__

#include <cuda.h>

// For functions that kernels call.
#define DEVICE_FN __device__ __forceinline__

namespace block_attention::cuda {

// Describes a matrix in global memory to the TMA unit; a kernel takes it as
// `const __grid_constant__ TensorMap`.
using TensorMap = CUtensorMap;

template <typename To, typename From>
DEVICE_FN To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// ---- element types

DEVICE_FN float widen(Bf16 value) { return __uint_as_float(uint32_t{value.bits} << 16); }

DEVICE_FN float widen(F16 value) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
  return wide;
}

// Rounds to nearest even; too large becomes infinity, NaN stays NaN.
template <typename E>
DEVICE_FN E narrow(float value) {
  static_assert(is_element<E>);
  E element;
  if constexpr (std::is_same_v<E, Bf16>) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(element.bits) : "f"(value));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(element.bits) : "f"(value));
  }
  return element;
}

// Two elements in one word; `low` is the one with the lower address.
template <typename E>
DEVICE_FN uint32_t pack(float low, float high) {
  static_assert(is_element<E>);
  uint32_t packed;
  if constexpr (std::is_same_v<E, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  }
  return packed;
}

template <typename E>
DEVICE_FN float unpack_low(uint32_t packed) {
  return widen(E{static_cast<uint16_t>(packed & 0xffffu)});
}

template <typename E>
DEVICE_FN float unpack_high(uint32_t packed) {
  return widen(E{static_cast<uint16_t>(packed >> 16)});
}

// ---- global memory

// Aligned to its size, inside memory of Device::allocate.
template <typename T>
DEVICE_FN T ldg(const T* address) {
  static_assert(is_loadable<T>);
  const size_t at = __cvta_generic_to_global(address);
  if constexpr (sizeof(T) == 16) {
    U32x4 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x[0]), "=r"(v.x[1]), "=r"(v.x[2]), "=r"(v.x[3])
                 : "l"(at)
                 : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 8) {
    U32x2 v;
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x[0]), "=r"(v.x[1])
                 : "l"(at)
                 : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 4) {
    uint32_t v;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 2) {
    uint16_t v;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(at) : "memory");
    return bits_as<T>(v);
  } else {
    uint32_t v;
    asm volatile("ld.global.u8 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return bits_as<T>(static_cast<uint8_t>(v));
  }
}

// For what this launch only reads, and reads once: the line does not take a place in L1.
template <typename T>
DEVICE_FN T ldg_streaming(const T* address) {
  static_assert(is_loadable<T>);
  const size_t at = __cvta_generic_to_global(address);
  if constexpr (sizeof(T) == 16) {
    U32x4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x[0]), "=r"(v.x[1]), "=r"(v.x[2]), "=r"(v.x[3])
        : "l"(at));
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 8) {
    U32x2 v;
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
        : "=r"(v.x[0]), "=r"(v.x[1])
        : "l"(at));
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 4) {
    uint32_t v;
    asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(at));
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 2) {
    uint16_t v;
    asm("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(v) : "l"(at));
    return bits_as<T>(v);
  } else {
    uint32_t v;
    asm("ld.global.nc.L1::no_allocate.u8 %0, [%1];" : "=r"(v) : "l"(at));
    return bits_as<T>(static_cast<uint8_t>(v));
  }
}

template <typename T>
DEVICE_FN void stg(T* address, const std::type_identity_t<T>& value) {
  static_assert(is_loadable<T>);
  const size_t at = __cvta_generic_to_global(address);
  if constexpr (sizeof(T) == 16) {
    const U32x4 v = bits_as<U32x4>(value);
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(v.x[0]), "r"(v.x[1]),
                 "r"(v.x[2]), "r"(v.x[3])
                 : "memory");
  } else if constexpr (sizeof(T) == 8) {
    const U32x2 v = bits_as<U32x2>(value);
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(at), "r"(v.x[0]), "r"(v.x[1]) : "memory");
  } else if constexpr (sizeof(T) == 4) {
    asm volatile("st.global.u32 [%0], %1;" ::"l"(at), "r"(bits_as<uint32_t>(value)) : "memory");
  } else if constexpr (sizeof(T) == 2) {
    asm volatile("st.global.u16 [%0], %1;" ::"l"(at), "h"(bits_as<uint16_t>(value)) : "memory");
  } else {
    asm volatile("st.global.u8 [%0], %1;" ::"l"(at), "r"(uint32_t{bits_as<uint8_t>(value)})
                 : "memory");
  }
}

// ---- shared memory

// The block's dynamic shared memory, 1024-byte aligned.
DEVICE_FN uint32_t shared_base() {
  extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];
  return static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared_memory));
}

template <typename T>
DEVICE_FN T lds(uint32_t address) {
  static_assert(is_loadable<T>);
  if constexpr (sizeof(T) == 16) {
    U32x4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x[0]), "=r"(v.x[1]), "=r"(v.x[2]), "=r"(v.x[3])
                 : "r"(address)
                 : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 8) {
    U32x2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x[0]), "=r"(v.x[1])
                 : "r"(address)
                 : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 4) {
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
    return bits_as<T>(v);
  } else if constexpr (sizeof(T) == 2) {
    uint16_t v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(address) : "memory");
    return bits_as<T>(v);
  } else {
    uint32_t v;
    asm volatile("ld.shared.u8 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
    return bits_as<T>(static_cast<uint8_t>(v));
  }
}

template <typename T>
DEVICE_FN void sts(uint32_t address, const T& value) {
  static_assert(is_loadable<T>);
  if constexpr (sizeof(T) == 16) {
    const U32x4 v = bits_as<U32x4>(value);
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x[0]),
                 "r"(v.x[1]), "r"(v.x[2]), "r"(v.x[3])
                 : "memory");
  } else if constexpr (sizeof(T) == 8) {
    const U32x2 v = bits_as<U32x2>(value);
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(address), "r"(v.x[0]), "r"(v.x[1])
                 : "memory");
  } else if constexpr (sizeof(T) == 4) {
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(bits_as<uint32_t>(value))
                 : "memory");
  } else if constexpr (sizeof(T) == 2) {
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(address), "h"(bits_as<uint16_t>(value))
                 : "memory");
  } else {
    asm volatile("st.shared.u8 [%0], %1;" ::"r"(address), "r"(uint32_t{bits_as<uint8_t>(value)})
                 : "memory");
  }
}

// Returns what was there before. For counters: their sum does not depend on the order.
DEVICE_FN uint32_t atomic_add_shared(uint32_t address, uint32_t value) {
  uint32_t before;
  asm volatile("atom.shared.add.u32 %0, [%1], %2;"
               : "=r"(before)
               : "r"(address), "r"(value)
               : "memory");
  return before;
}

// ---- asynchronous copies from global to shared memory

// 16 bytes, both sides 16-byte aligned; zeros if not valid, and `from` is not read then.
DEVICE_FN void cp_async16(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}

// The copies of this thread since the last commit become a group.
DEVICE_FN void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `kPending` groups of this thread are unfinished. Other threads see the bytes
// after a barrier.
template <int kPending>
DEVICE_FN void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// ---- barriers and warp collectives

DEVICE_FN void syncthreads() { __syncthreads(); }
DEVICE_FN void syncwarp() { __syncwarp(); }

// Named barriers 1 to 15 (0 is syncthreads); `threads` counts those that sync and those that only
// arrive.
DEVICE_FN void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
DEVICE_FN void bar_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <typename T>
DEVICE_FN T shfl_xor(T value, int mask) {
  static_assert(is_shuffled<T>);
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <typename T>
DEVICE_FN T shfl(T value, int lane) {
  static_assert(is_shuffled<T>);
  return __shfl_sync(0xffffffffu, value, lane);
}

// Lanes below `delta` keep their own value.
template <typename T>
DEVICE_FN T shfl_up(T value, int delta) {
  static_assert(is_shuffled<T>);
  return __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(delta));
}

// Bit i is lane i's predicate.
DEVICE_FN uint32_t ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }

// ---- tensor cores, sm_80

// Four 8x8 matrices of 16-bit elements: lane 8 m + r gives the address of row r of matrix m, and
// gets elements 2 (lane % 4) and the next of row lane / 4 of each.
DEVICE_FN void ldmatrix_x4(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// The same of the transposed matrices.
DEVICE_FN void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// d (16 x 8, float32) += a (16 x 16) b (16 x 8). With g = lane / 4 and t = 2 (lane % 4), the low
// half of a word being the lower index:
//   a[0] (g, t), a[1] (g + 8, t), a[2] (g, t + 8), a[3] (g + 8, t + 8)   as (row, k)
//   b0 k = t, b1 k = t + 8, column g
//   d[0], d[1] (g, t), (g, t + 1); d[2], d[3] (g + 8, t), (g + 8, t + 1)
template <typename E>
DEVICE_FN void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  static_assert(is_element<E>);
  if constexpr (std::is_same_v<E, Bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

// ---- maths

// 2^x within 2 ulp; subnormal arguments and results count as zero.
DEVICE_FN float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace block_attention::cuda

#include "cuda/primitives_sm90.cuh"

#else
#include "emulator/primitives.hpp"
#endif
