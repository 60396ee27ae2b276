// The kernels of int8 products that tests go through.
#pragma once

#include <string>
#include <vector>

#include "cpu/int8_format.hpp"
#include "cpu/isa.hpp"

namespace block_attention::test {

inline constexpr const char* kNoAmx =
    "this CPU has no AMX-INT8, or the system does not let this process use it";

struct Kernel {
  Isa isa;
  Int8Dot dot;
};

inline bool can_run(const Kernel& kernel) {
  switch (kernel.dot) {
    case Int8Dot::kPairs:
      return true;
    // The portable kernel does without the instruction.
    case Int8Dot::kQuads:
      return kernel.isa == Isa::kPortable || best_int8_dot(kernel.isa) != Int8Dot::kPairs;
    case Int8Dot::kAmx:
      return best_int8_dot(kernel.isa) == Int8Dot::kAmx;
  }
  return false;
}

// Everything that this CPU can run.
inline std::vector<Kernel> kernels() {
  std::vector<Kernel> all;
  for (Isa isa : supported_isas()) {
    for (Int8Dot dot : {Int8Dot::kPairs, Int8Dot::kQuads, Int8Dot::kAmx}) {
      if (can_run({isa, dot})) all.push_back({isa, dot});
    }
  }
  return all;
}

// And AMX, which few CPUs have: its tests are skipped by name.
inline std::vector<Kernel> kernels_and_amx() {
  std::vector<Kernel> all = kernels();
#if defined(__x86_64__)
  const Kernel amx{Isa::kAvx512, Int8Dot::kAmx};
  if (!has_avx512(supported_isas().back()) || !can_run(amx)) all.push_back(amx);
#endif
  return all;
}

inline std::string kernel_name(const Kernel& kernel) {
  const char* dot = kernel.dot == Int8Dot::kPairs   ? "_pairs"
                    : kernel.dot == Int8Dot::kQuads ? "_quads"
                                                    : "_amx";
  return std::string(isa_name(kernel.isa)) + dot;
}

}  // namespace block_attention::test
