// Runs linear_mma_kernel of the namespace PLANTED on a ragged shape and compares with float64. The
// ring of the tile goes round several times.
#include <cmath>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "device_array.hpp"
#include "emulator/options.hpp"
#include "half_precision.hpp"
#include "support.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

using test::DeviceArray;
using test::DeviceTensor;

using Tile = LinearTile<32, 32, 64, 2, 2, 3, 1>;
constexpr int64_t kRows = 32 + 13;
constexpr int64_t kCols = 32 + 7;
constexpr int64_t kDepth = 64 * 7 + 24;

std::string run(Device& device) {
  block_attention::test::Random random(231);
  const std::vector<float> x = test::rounded(random.normals(kRows * kDepth), DType::kBF16);
  const std::vector<float> weight = test::rounded(random.normals(kCols * kDepth), DType::kBF16);
  const std::vector<float> bias = random.normals(kCols);
  const DeviceTensor device_x(device, DType::kBF16, kRows, kDepth, kDepth + 8, x);
  const DeviceTensor device_weight(device, DType::kBF16, kCols, kDepth, kDepth, weight);
  const DeviceArray<float> device_bias(device, bias);
  const DeviceTensor out(device, DType::kF32, kRows, kCols, kCols + 3);
  LinearArguments arguments{};
  arguments.x = device_x.view().data;
  arguments.weight = device_weight.view().data;
  arguments.bias = device_bias.data();
  arguments.out = out.view().data;
  arguments.x_stride = kDepth + 8;
  arguments.out_stride = kCols + 3;
  arguments.rows = kRows;
  arguments.out_features = kCols;
  arguments.in_features = kDepth;
  arguments.row_tiles = 2;
  arguments.pairs = true;
  launch<linear_mma_kernel<Bf16, float, Tile>>(
      device, {.grid = {2, 2, 1}, .threads = Tile::kThreads, .shared_bytes = Tile::kSharedBytes},
      arguments);
  const std::vector<float> got = out.read();
  if (emulator::statistics().ldmatrix_bank_conflicts != 0) return "bank conflicts";
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t col = 0; col < kCols; ++col) {
      double sum = double{bias[static_cast<size_t>(col)]};
      for (int64_t k = 0; k < kDepth; ++k) {
        sum += double{x[static_cast<size_t>(row * kDepth + k)]} *
               double{weight[static_cast<size_t>(col * kDepth + k)]};
      }
      const double error = std::abs(double{got[static_cast<size_t>(row * kCols + col)]} - sum);
      if (!(error < 1e-3)) return "wrong value at row " + std::to_string(row);
    }
  }
  return "";
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
