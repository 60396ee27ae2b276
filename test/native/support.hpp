// Small helpers of the kernel tests: reproducible numbers, poisoned outputs, bit comparison.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "cpu/isa.hpp"

namespace block_attention::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInf = std::numeric_limits<float>::infinity();

// A stream of reproducible numbers; the seed belongs into a SCOPED_TRACE.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint64_t bits() { return random_u64(seed_, next_++); }
  double uniform() { return random_uniform(seed_, next_++); }
  float normal() { return random_normal(seed_, next_++); }
  // In [low, high], both included.
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
  }
  bool chance(double probability) { return uniform() < probability; }
  std::vector<float> normals(size_t count, float scale = 1) {
    std::vector<float> values(count);
    for (float& value : values) value = normal() * scale;
    return values;
  }

 private:
  uint64_t seed_;
  uint64_t next_ = 0;
};

// An output buffer that shows what was not written.
inline std::vector<float> poisoned(size_t count) { return std::vector<float>(count, kNan); }

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// |value - expected| in units of the last place of the float nearest to `expected`.
inline double ulps(float value, double expected) {
  const float nearest = static_cast<float>(expected);
  if (std::isnan(nearest) || std::isinf(nearest)) {
    return std::bit_cast<uint32_t>(value) == std::bit_cast<uint32_t>(nearest) ||
                   (std::isnan(value) && std::isnan(nearest))
               ? 0
               : 1e30;
  }
  const float size = std::max(std::abs(nearest), std::numeric_limits<float>::min());
  const double unit = double{std::nextafter(size, kInf)} - double{size};
  return std::abs(double{value} - expected) / unit;
}

// For INSTANTIATE_TEST_SUITE_P over supported_isas().
struct IsaName {
  template <typename Info>
  std::string operator()(const Info& info) const {
    return isa_name(info.param);
  }
};

}  // namespace block_attention::test
