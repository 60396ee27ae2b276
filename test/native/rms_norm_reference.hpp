// RMSNorm in float64, and how far a plain float32 implementation is from it.
#pragma once

#include <vector>

#include "support.hpp"

namespace block_attention::test {

template <typename Value>
std::vector<double> rms_norm_reference(const std::vector<Value>& x,
                                       const std::vector<float>& weight, float eps) {
  double squares = 0;
  for (Value value : x) squares += double{value} * value;
  const double root = std::sqrt(squares / static_cast<double>(x.size()) + double{eps});
  std::vector<double> out;
  for (size_t i = 0; i < x.size(); ++i) out.push_back(double{x[i]} / root * weight[i]);
  return out;
}

// The largest error, in units in the last place, of the same sum in float32: for the rule "at most
// twice the error of a plain implementation, plus a rounding floor".
inline double rms_norm_plain_error(const std::vector<float>& x, const std::vector<float>& weight,
                                   float eps, const std::vector<double>& expected) {
  float squares = 0;
  for (float value : x) squares += value * value;
  const float factor = 1 / std::sqrt(squares / static_cast<float>(x.size()) + eps);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, ulps(x[i] * factor * weight[i], expected[i]));
  }
  return worst;
}

}  // namespace block_attention::test
