#include "cpu/amx.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace block_attention {
#if defined(__x86_64__) && defined(__linux__)
namespace {

constexpr unsigned kBf16 = 1u << 22;  // leaf 7, subleaf 0, edx
constexpr unsigned kTile = 1u << 24;
constexpr unsigned kInt8 = 1u << 25;

bool cpu_has(unsigned features) {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & features) == features;
}

// A system that does not know tiles leaves them off in XCR0, whatever the CPU says of itself.
bool system_saves_tiles() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_OSXSAVE) == 0) return false;
  constexpr unsigned kTileConfigAndData = 3u << 17;
  asm("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (eax & kTileConfigAndData) == kTileConfigAndData;
}

// Linux keeps no room for tiles (8 KiB a thread) before a process has asked for it. It refuses
// where an alternate signal stack is too small for them, and a sandbox may refuse the call itself.
bool system_permits_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h, since 5.16
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool can_use_tiles() {
  static const bool can = cpu_has(kTile) && system_saves_tiles() && system_permits_tiles();
  return can;
}

}  // namespace

bool can_use_amx_int8() { return cpu_has(kInt8) && can_use_tiles(); }
bool can_use_amx_bf16() { return cpu_has(kBf16) && can_use_tiles(); }
#else
bool can_use_amx_int8() { return false; }
bool can_use_amx_bf16() { return false; }
#endif

}  // namespace block_attention
