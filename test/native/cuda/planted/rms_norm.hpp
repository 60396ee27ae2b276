// Runs rms_norm and add_rms_norm of the namespace PLANTED on rows of all lengths and compares with
// float64.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "device_array.hpp"
#include "half_precision.hpp"
#include "rms_norm_reference.hpp"
#include "support.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

using test::DeviceTensor;

constexpr int64_t kRows = 3;
constexpr float kEps = 1e-5f;

std::string run_length(Device& device, int64_t cols) {
  block_attention::test::Random random(232);
  const auto size = static_cast<size_t>(kRows * cols);
  const std::vector<float> before = random.normals(size);
  const std::vector<float> delta = test::rounded(random.normals(size), DType::kBF16);
  const std::vector<float> weight = random.normals(static_cast<size_t>(cols));
  PinnedStaging staging(device, 4096);
  const std::unique_ptr<CudaVector> weights = upload_vector(device, staging, weight);
  const DeviceTensor residual(device, DType::kF32, kRows, cols, cols + 4, before);
  const DeviceTensor added(device, DType::kBF16, kRows, cols, cols + 8, delta);
  const DeviceTensor out(device, DType::kBF16, kRows, cols, cols + 16);
  PLANTED::add_rms_norm(device, residual.view(), added.view(), *weights, kEps, out.view());
  const std::vector<float> sum = residual.read();
  const std::vector<float> got = out.read();
  for (int64_t row = 0; row < kRows; ++row) {
    const std::vector<float> x(sum.begin() + row * cols, sum.begin() + (row + 1) * cols);
    const std::vector<double> expected = block_attention::test::rms_norm_reference(x, weight, kEps);
    for (int64_t col = 0; col < cols; ++col) {
      const auto at = static_cast<size_t>(row * cols + col);
      const double want = expected[static_cast<size_t>(col)];
      const bool near =
          std::abs(double{got[at]} - want) <= test::allowed_error(want, DType::kBF16, 64);
      if (!near || sum[at] != before[at] + delta[at]) {
        return "wrong value at row " + std::to_string(row) + ", column " + std::to_string(col);
      }
    }
  }
  return "";
}

std::string run(Device& device) {
  for (const int64_t cols : {64, 2048, 2056}) {
    const std::string said = run_length(device, cols);
    if (!said.empty()) return said;
  }
  return "";
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
