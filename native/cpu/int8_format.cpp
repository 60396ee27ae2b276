#include "cpu/int8_format.hpp"

#include "cpu/amx.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace block_attention {

Int8Dot best_int8_dot(Isa isa) {
#if defined(__x86_64__)
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kAvx512Vnni = 1u << 11;  // leaf 7, subleaf 0, ecx
  if (has_avx512(isa) && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
      (ecx & kAvx512Vnni) != 0) {
    return can_use_amx_int8() ? Int8Dot::kAmx : Int8Dot::kQuads;
  }
  if (isa == Isa::kAvxVnni) return Int8Dot::kQuads;
#else
  static_cast<void>(isa);
#endif
  return Int8Dot::kPairs;
}

}  // namespace block_attention
