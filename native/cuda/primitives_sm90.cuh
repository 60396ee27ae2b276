// The part of the primitives that Hopper alone has: transaction barriers, bulk tensor copies,
// asynchronous warpgroup products. Included by primitives.cuh.
//
// The names exist for every architecture, so that a source file compiles for all of them; where the
// hardware lacks an instruction its primitive traps. A launcher chooses such kernels for compute
// capability 90 alone: PTX for later cards does not hold wgmma.
#pragma once

#include "cuda/primitives.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SM90_ASM(...) asm volatile(__VA_ARGS__)
#else
#define SM90_ASM(...) __trap()
#endif

namespace block_attention::cuda {

// ---- mbarrier: 8 bytes of shared memory, 8-byte aligned

DEVICE_FN void mbar_init([[maybe_unused]] uint32_t bar, [[maybe_unused]] uint32_t arrivals) {
  SM90_ASM("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}

// After the inits, before the barrier that tells other threads of them.
DEVICE_FN void fence_mbar_init() { SM90_ASM("fence.mbarrier_init.release.cluster;" ::: "memory"); }

DEVICE_FN void mbar_arrive([[maybe_unused]] uint32_t bar) {
  SM90_ASM("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

// Arrives, and the phase ends only when `bytes` more have been copied.
DEVICE_FN void mbar_expect_tx([[maybe_unused]] uint32_t bar, [[maybe_unused]] uint32_t bytes) {
  SM90_ASM("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
           : "memory");
}

// Waits for the end of the phase of this parity: 0 for the first, then 1, 0, ...
DEVICE_FN void mbar_wait([[maybe_unused]] uint32_t bar, [[maybe_unused]] uint32_t parity) {
  SM90_ASM(
      "{\n.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra WAIT;\n}" ::"r"(bar),
      "r"(parity)
      : "memory");
}

// ---- TMA: one thread copies a box; `to` is 128-byte aligned (1024 with the 128-byte swizzle)

DEVICE_FN void tma_load_2d([[maybe_unused]] uint32_t to, [[maybe_unused]] const TensorMap* map,
                           [[maybe_unused]] int x, [[maybe_unused]] int y,
                           [[maybe_unused]] uint32_t bar) {
  SM90_ASM(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(x), "r"(y), "r"(bar)
      : "memory");
}

DEVICE_FN void tma_load_3d([[maybe_unused]] uint32_t to, [[maybe_unused]] const TensorMap* map,
                           [[maybe_unused]] int x, [[maybe_unused]] int y, [[maybe_unused]] int z,
                           [[maybe_unused]] uint32_t bar) {
  SM90_ASM(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(bar)
      : "memory");
}

// ---- wgmma: products of a warpgroup of 128 threads, read from shared memory

// Between plain stores to shared memory and the TMA or wgmma that reads them.
DEVICE_FN void fence_proxy_async() { SM90_ASM("fence.proxy.async.shared::cta;" ::: "memory"); }

// Keeps what is done with accumulators on its side of a fence or a wait: those order the
// warpgroup's registers, of which the compiler knows nothing.
template <int kCount>
DEVICE_FN void hold_registers(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Before the first product of a group, on whose accumulators d nothing else is done until
// wgmma_wait.
template <int kCount>
DEVICE_FN void wgmma_fence(float (&d)[kCount]) {
  hold_registers(d);
  SM90_ASM("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE_FN void wgmma_commit() { SM90_ASM("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until at most kPending groups are unfinished; d are the accumulators of the group that ended.
template <int kPending, int kCount>
DEVICE_FN void wgmma_wait(float (&d)[kCount]) {
  SM90_ASM("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
  hold_registers(d);
}

// A matrix in shared memory with the 128-byte swizzle; offsets in bytes.
DEVICE_FN uint64_t wgmma_descriptor(uint32_t address, uint32_t leading_offset,
                                    uint32_t stride_offset) {
  return uint64_t{(address & 0x3ffffu) >> 4} | uint64_t{leading_offset >> 4} << 16 |
         uint64_t{stride_offset >> 4} << 32 | uint64_t{1} << 62;
}

#define WGMMA_D16(d, i)                                                                       \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7]), "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]),        \
      "+f"(d[i + 11]), "+f"(d[i + 12]), "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])
#define WGMMA_D64(d) WGMMA_D16(d, 0), WGMMA_D16(d, 16)
#define WGMMA_D128(d) WGMMA_D64(d), WGMMA_D16(d, 32), WGMMA_D16(d, 48)
#define WGMMA_NAMES64                                                                      \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA_NAMES128                                                                    \
  WGMMA_NAMES64                                                                           \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52," \
  "%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// The operands behind the accumulators: a, b, accumulate, kTransB.
#define WGMMA_SHARED(type, n, accumulators, a_name, b_name, flag_name, trans_name)         \
  SM90_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name                                   \
           ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type           \
           " {" WGMMA_NAMES##n "}, " a_name ", " b_name ", p, 1, 1, 0, " trans_name ";\n}" \
           : accumulators                                                                  \
           : "l"(a), "l"(b), "r"(int{accumulate}), "n"(kTransB))
#define WGMMA_REGISTERS(type, n, accumulators, a_names, b_name, flag_name, trans_name)     \
  SM90_ASM("{\n.reg .pred p;\nsetp.ne.b32 p, " flag_name                                   \
           ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type           \
           " {" WGMMA_NAMES##n "}, {" a_names "}, " b_name ", p, 1, 1, " trans_name ";\n}" \
           : accumulators                                                                  \
           : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}),     \
             "n"(kTransB))

// d (64 x kCols, float32) = a (64 x 16) b (16 x kCols), plus d if `accumulate`; kCols is 64 or 128.
// Warp w of the group holds rows 16 w to 16 w + 15: d[4 j + 2 i + c] is row 16 w + lane / 4 + 8 i,
// column 8 j + 2 (lane % 4) + c. kTransB 0: b is stored [n][k]; 1: [k][n]. d must not be touched
// until wgmma_wait.
template <typename E, int kTransB, int kCols>
DEVICE_FN void wgmma_m64k16([[maybe_unused]] float (&d)[kCols / 2], [[maybe_unused]] uint64_t a,
                            [[maybe_unused]] uint64_t b, [[maybe_unused]] bool accumulate) {
  static_assert(is_element<E> && (kCols == 64 || kCols == 128));
  if constexpr (std::is_same_v<E, Bf16> && kCols == 64) {
    WGMMA_SHARED("bf16", 64, WGMMA_D64(d), "%32", "%33", "%34", "%35");
  } else if constexpr (std::is_same_v<E, Bf16>) {
    WGMMA_SHARED("bf16", 128, WGMMA_D128(d), "%64", "%65", "%66", "%67");
  } else if constexpr (kCols == 64) {
    WGMMA_SHARED("f16", 64, WGMMA_D64(d), "%32", "%33", "%34", "%35");
  } else {
    WGMMA_SHARED("f16", 128, WGMMA_D128(d), "%64", "%65", "%66", "%67");
  }
}

// a in registers, laid out as for mma_m16n8k16 for the warp's 16 rows.
template <typename E, int kTransB, int kCols>
DEVICE_FN void wgmma_m64k16([[maybe_unused]] float (&d)[kCols / 2],
                            [[maybe_unused]] const uint32_t (&a)[4], [[maybe_unused]] uint64_t b,
                            [[maybe_unused]] bool accumulate) {
  static_assert(is_element<E> && (kCols == 64 || kCols == 128));
  if constexpr (std::is_same_v<E, Bf16> && kCols == 64) {
    WGMMA_REGISTERS("bf16", 64, WGMMA_D64(d), "%32, %33, %34, %35", "%36", "%37", "%38");
  } else if constexpr (std::is_same_v<E, Bf16>) {
    WGMMA_REGISTERS("bf16", 128, WGMMA_D128(d), "%64, %65, %66, %67", "%68", "%69", "%70");
  } else if constexpr (kCols == 64) {
    WGMMA_REGISTERS("f16", 64, WGMMA_D64(d), "%32, %33, %34, %35", "%36", "%37", "%38");
  } else {
    WGMMA_REGISTERS("f16", 128, WGMMA_D128(d), "%64, %65, %66, %67", "%68", "%69", "%70");
  }
}

#undef WGMMA_REGISTERS
#undef WGMMA_SHARED
#undef WGMMA_NAMES128
#undef WGMMA_NAMES64
#undef WGMMA_D128
#undef WGMMA_D64
#undef WGMMA_D16

// Moves registers between the warpgroups of a block; needs __launch_bounds__(threads, 1).
template <int kRegisters>
DEVICE_FN void setmaxnreg_inc() {
  SM90_ASM("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
DEVICE_FN void setmaxnreg_dec() {
  SM90_ASM("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace block_attention::cuda

#undef SM90_ASM
