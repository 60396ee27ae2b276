#include "cpu/isa.hpp"

#include <cstdlib>
#include <string>

#include "core/error.hpp"
#include "cpu/amx.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace block_attention {
#if defined(__x86_64__)
namespace {

// Some versions of clang do not know "f16c" in __builtin_cpu_supports.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// Leaf 7, subleaf 1, eax.
constexpr unsigned kAvxVnniBit = 1u << 4;
constexpr unsigned kAvx512Bf16Bit = 1u << 5;

// Leaf 7, subleaf 0, edx.
constexpr unsigned kAvx512Fp16Bit = 1u << 23;

bool has_avx512_fp16() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAvx512Fp16Bit) != 0;
}

bool has_newer_feature(unsigned bit) {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & bit) != 0;
}

}  // namespace
#endif

bool has_slow_bf16_dots() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_is("intel") && has_avx512_fp16();
#else
  return false;
#endif
}

Isa best_isa(const std::vector<Isa>& supported, bool slow_bf16_dots) {
  const Isa best = supported.back();
  return best == Isa::kAvx512Bf16 && slow_bf16_dots ? Isa::kAvx512 : best;
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas = {Isa::kPortable};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
      __builtin_cpu_supports("bmi2")) {
    isas.push_back(Isa::kAvx2);
    if (has_newer_feature(kAvxVnniBit)) isas.push_back(Isa::kAvxVnni);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd")) {
      isas.push_back(Isa::kAvx512);
      if (has_newer_feature(kAvx512Bf16Bit)) {
        isas.push_back(Isa::kAvx512Bf16);
        if (can_use_amx_bf16()) isas.push_back(Isa::kAmxBf16);
      }
    }
  }
#endif
  return isas;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAmxBf16:
      return "amxbf16";
  }
  return "portable";
}

Isa default_isa(bool float32) {
  const auto chosen = [&](Isa isa) { return float32 && has_bf16_dots(isa) ? Isa::kAvx512 : isa; };
  const std::vector<Isa> isas = supported_isas();
  const char* asked = std::getenv("BLOCK_ATTENTION_ISA");
  if (asked == nullptr || *asked == '\0') return chosen(best_isa(isas, has_slow_bf16_dots()));
  for (Isa isa : isas) {
    if (std::string(asked) == isa_name(isa)) return chosen(isa);
  }
  throw Error(
      ErrorCode::kUnsupported,
      std::string("BLOCK_ATTENTION_ISA=") + asked +
          " is not supported by this CPU; use portable, avx2, avxvnni, avx512, avx512bf16 or "
          "amxbf16, or unset it");
}

}  // namespace block_attention
