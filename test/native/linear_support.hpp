// What the tests of all linear ops need: random tensors, an output that tells what was written
// beside it, and the code of an error.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/tensor.hpp"
#include "cpu/isa.hpp"

namespace block_attention::test {

inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Whether a multiply-add of this instruction set rounds once.
inline bool fuses(Isa isa) {
#if defined(__x86_64__)
  return isa != Isa::kPortable;
#else
  (void)isa;
  return true;
#endif
}

inline std::vector<float> random_values(std::mt19937& rng, int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(rng);
  return values;
}

inline Tensor view(std::vector<float>& values, int64_t rows, int64_t cols, int64_t stride) {
  return {values.data(), DType::kF32, rows, cols, stride};
}

// The output of op.run() without gaps. There are poisoned columns after each row, which must stay
// so.
template <typename Op, typename Weight>
std::vector<float> run_linear(Op& op, const Weight& weight, std::vector<float>& x, int64_t rows,
                              int64_t x_stride) {
  const int64_t columns = weight.out_features();
  const int64_t stride = columns + 3;
  std::vector<float> out(static_cast<size_t>(rows * stride), kPoison);
  op.run(view(x, rows, weight.in_features(), x_stride), weight, view(out, rows, columns, stride));
  std::vector<float> dense;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < stride; ++j) {
      const float value = out[static_cast<size_t>(i * stride + j)];
      if (j < columns) {
        dense.push_back(value);
      } else {
        EXPECT_TRUE(std::isnan(value)) << "written outside: row " << i << " column " << j;
      }
    }
  }
  return dense;
}

// The name of the Error's code that a call throws, or "none".
template <typename Call>
std::string error_code_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error_code_name(error.code());
  }
  return "none";
}

}  // namespace block_attention::test
