#include "model/score_error.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace block_attention {
namespace {

// Of a product of which both sides are rounded: (2.4 / 127)^2 / 12 of its power for the weights,
// since the greatest of 64 normal values is about 2.4 deviations, and a quarter of it for the
// activations, which have a bit more.
const double kRounding = 2.4 / 127 * std::sqrt(1.25 / 12);

// Of a head's vector: its length, and how long the part is that the matrix gives and rounding
// spoils.
struct Length {
  double whole = 0;
  double rounded = 0;
};

std::vector<Length> lengths(const HeadProjection& projection, std::span<const float> input_norm,
                            int64_t head_dim) {
  const HostMatrix& matrix = projection.matrix;
  std::vector<char> rows(static_cast<size_t>(head_dim * matrix.cols) * dtype_size(matrix.dtype));
  std::vector<Length> heads;
  for (int64_t first = 0; first < matrix.rows; first += head_dim) {
    matrix.read(first, head_dim, rows.data());
    double power = 0;
    size_t at = 0;
    for (int64_t row = 0; row < head_dim; ++row) {
      for (const float norm : input_norm) {
        const float w = load_as_f32(rows.data(), matrix.dtype, at++) * norm;
        power += double{w} * double{w};
      }
    }
    double constant = 0;
    for (int64_t i = 0; !projection.bias.empty() && i < head_dim; ++i) {
      const double b = projection.bias[static_cast<size_t>(first + i)];
      constant += b * b;
    }
    Length length{std::sqrt(power + constant), std::sqrt(power)};
    if (!projection.norm.empty() && length.whole > 0) {
      double norm = 0;
      for (const float w : projection.norm) norm += double{w} * double{w};
      // Each value's mean square is one before the norm's weights.
      length.rounded *= std::sqrt(norm) / length.whole;
      length.whole = std::sqrt(norm);
    }
    heads.push_back(length);
  }
  return heads;
}

}  // namespace

double score_error(const HeadProjection& q, const HeadProjection& k,
                   std::span<const float> input_norm, int64_t head_dim) {
  const std::vector<Length> q_heads = lengths(q, input_norm, head_dim);
  const std::vector<Length> k_heads = lengths(k, input_norm, head_dim);
  const size_t group = q_heads.size() / k_heads.size();
  double most = 0;
  for (size_t head = 0; head < q_heads.size(); ++head) {
    const Length& a = q_heads[head];
    const Length& b = k_heads[head / group];
    most = std::max(most, std::hypot(a.rounded * b.whole, a.whole * b.rounded));
  }
  return kRounding * most / static_cast<double>(head_dim);
}

}  // namespace block_attention
