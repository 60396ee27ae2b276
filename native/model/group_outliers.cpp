#include "model/group_outliers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace block_attention {
namespace {

constexpr int64_t kRows = 64;
constexpr int64_t kHalf = 32;

}  // namespace

double group_outliers(const HostMatrix& matrix) {
  std::vector<char> row(static_cast<size_t>(matrix.cols) * dtype_size(matrix.dtype));
  const int64_t rows = std::min(kRows, matrix.rows);
  double whole = 0;
  double halves = 0;
  for (int64_t i = 0; i < rows; ++i) {
    matrix.read(i * matrix.rows / rows, 1, row.data());
    for (int64_t first = 0; first < matrix.cols; first += 2 * kHalf) {
      double most = 0;
      for (int64_t half = first; half < std::min(first + 2 * kHalf, matrix.cols); half += kHalf) {
        const int64_t count = std::min(kHalf, matrix.cols - half);
        double greatest = 0;
        for (int64_t k = half; k < half + count; ++k) {
          const float w = load_as_f32(row.data(), matrix.dtype, static_cast<size_t>(k));
          greatest = std::max(greatest, std::fabs(double{w}));
        }
        halves += static_cast<double>(count) * greatest * greatest;
        most = std::max(most, greatest);
      }
      whole += static_cast<double>(std::min(2 * kHalf, matrix.cols - first)) * most * most;
    }
  }
  return halves > 0 ? whole / halves : 1;
}

}  // namespace block_attention
