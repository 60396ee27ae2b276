#pragma once

#include <cmath>

namespace block_attention::test {

// silu(gate) * up in float64.
inline double swiglu_reference(float gate, float up) {
  return double{gate} / (1 + std::exp(-double{gate})) * double{up};
}

}  // namespace block_attention::test
