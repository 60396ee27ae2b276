// Which instruction set the kernels run on. Every kernel file is compiled once per Highway target
// and offers a table of its functions per Isa; the backend chooses at load, by CPU features alone.
//
// A kernel file looks like this (native/cpu/rms_norm.cpp is the smallest):
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "cpu/rms_norm.cpp"
//   #include "hwy/foreach_target.h"     // compiles this file again for every other target
//   #include "hwy/highway.h"
//   HWY_BEFORE_NAMESPACE();
//   namespace block_attention::HWY_NAMESPACE { ... kernels ... }
//   HWY_AFTER_NAMESPACE();
//   #if HWY_ONCE
//   ... BLOCK_ATTENTION_KERNEL(isa, function) picks the one for `isa` ...
//   #endif
#pragma once

#include <vector>

// Of Highway's x86 targets we build AVX2 and AVX-512 (HWY_AVX3), and the portable one for anything
// older; on arm64 NEON alone, whose vectors have a size that the compiler knows.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

namespace block_attention {

// kAvxVnni is AVX2 with VNNI's products of bytes, for int8 weights; all else is that of kAvx2.
// kAvx512Bf16 is AVX-512 with dot products of bfloat16: where weights, or keys and values, are
// bf16, what they are multiplied by is rounded to bf16, too. Everything else is that of kAvx512.
// kAmxBf16 is kAvx512Bf16 with tiles of such products for weights, and for keys and values of most
// heads (amx_takes_head()), which are summed in another order.
enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kAvx512Bf16, kAmxBf16 };

constexpr bool has_bf16_dots(Isa isa) { return isa == Isa::kAvx512Bf16 || isa == Isa::kAmxBf16; }
constexpr bool has_avx2(Isa isa) { return isa != Isa::kPortable; }
constexpr bool has_avx512(Isa isa) { return isa == Isa::kAvx512 || has_bf16_dots(isa); }

// The best one this CPU supports, or the one that the environment variable BLOCK_ATTENTION_ISA
// (portable, avx2, avxvnni, avx512, avx512bf16, amxbf16) asks for; throws Error(kUnsupported) if
// the CPU lacks it. `float32`: kAvx512 takes the place of those that round to bf16.
Isa default_isa(bool float32 = false);
// All that this CPU supports, kPortable first.
std::vector<Isa> supported_isas();
// Intel's CPUs since Sapphire Rapids, which have tiles for bf16, take as long for a dot product of
// vectors as for two multiply-adds of float32, and need more instructions around it.
bool has_slow_bf16_dots();
// Of those that a CPU supports: the last one, but kAvx512 where it has no tiles, or may not use
// them, and slow dot products of bf16.
Isa best_isa(const std::vector<Isa>& supported, bool slow_bf16_dots);
const char* isa_name(Isa isa);

}  // namespace block_attention

#if defined(__x86_64__)
#define BLOCK_ATTENTION_KERNEL(isa, function)                                \
  (::block_attention::has_avx512(isa) ? &::block_attention::N_AVX3::function \
   : ::block_attention::has_avx2(isa) ? &::block_attention::N_AVX2::function \
                                      : &::block_attention::HWY_NAMESPACE::function)
#else
#define BLOCK_ATTENTION_KERNEL(isa, function) \
  ((void)(isa), &::block_attention::HWY_NAMESPACE::function)
#endif
