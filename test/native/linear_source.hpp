// Weights as files hold them, and what a product with one is in float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "core/dtype.hpp"
#include "core/tensor.hpp"

namespace block_attention::test {

// A weight of several stacked parts in a stored precision, kept as the file would hold it.
struct LinearSource {
  std::vector<std::vector<char>> bytes;
  std::vector<HostMatrix> parts;
  std::vector<float> bias;
  int64_t out_features = 0;
  int64_t in_features = 0;

  float at(int64_t feature, int64_t input) const {
    size_t part = 0;
    while (feature >= parts[part].rows) feature -= parts[part++].rows;
    return load_as_f32(bytes[part].data() + 1, parts[part].dtype,
                       static_cast<size_t>(feature * in_features + input));
  }
};

inline LinearSource make_linear_source(std::mt19937& rng, DType dtype,
                                       const std::vector<int64_t>& part_rows, int64_t in_features,
                                       bool bias) {
  std::normal_distribution<float> normal;
  LinearSource source;
  source.in_features = in_features;
  for (int64_t rows : part_rows) {
    // One byte off: a file promises no alignment.
    source.bytes.emplace_back(static_cast<size_t>(rows * in_features) * dtype_size(dtype) + 1);
    char* data = source.bytes.back().data() + 1;
    for (int64_t i = 0; i < rows * in_features; ++i) {
      const float value = normal(rng);
      const uint16_t half = dtype == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
      if (dtype == DType::kF32) std::memcpy(data + i * 4, &value, 4);
      if (dtype != DType::kF32) std::memcpy(data + i * 2, &half, 2);
    }
    source.out_features += rows;
  }
  for (size_t i = 0; i < part_rows.size(); ++i) {
    source.parts.push_back({source.bytes[i].data() + 1, dtype, part_rows[i], in_features});
  }
  for (int64_t i = 0; bias && i < source.out_features; ++i) source.bias.push_back(normal(rng));
  return source;
}

// One output element: the sum of the products and the bias, and the sum of their sizes.
struct LinearSum {
  double value = 0;
  double size = 0;
};

// `weight_at(k)` is the weight that x[k] meets.
template <typename WeightAt>
LinearSum linear_reference(const float* x, int64_t in_features, double bias,
                           const WeightAt& weight_at) {
  LinearSum sum = {bias, std::fabs(bias)};
  for (int64_t k = 0; k < in_features; ++k) {
    const double product = double{x[k]} * double{weight_at(k)};
    sum.value += product;
    sum.size += std::fabs(product);
  }
  return sum;
}

}  // namespace block_attention::test
