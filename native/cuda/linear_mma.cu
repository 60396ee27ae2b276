#include "cuda/linear_mma.cuh"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "cuda/launch.cuh"
#include "cuda/linear.hpp"
#include "cuda/tensor_check.hpp"

namespace block_attention::cuda {
namespace {

// Few rows (decoding): the weights' bytes are all that counts. Narrow tiles, so that even 4096
// output features (128 tiles) occupy the multiprocessors of an H100, and rows of 256 bytes: five
// slots of 8 KiB of weights are on their way per block, more than the 25 to 30 KiB that a
// multiprocessor needs at 3 to 4 TB/s and a latency near 1 us. x costs half as many reads again,
// from L2, and fewer where rows are missing.
using FewRows = LinearTile<16, 32, 128, 1, 2, 6, 1>;
// Up to 64 rows (the final block of a prompt), and more rows that fill too few of the large tiles:
// still the weights' bytes, now with as many bytes of x from L2.
using SomeRows = LinearTile<64, 64, 64, 2, 2, 6, 1>;
// Many rows: the tensor cores' speed counts, and with it what has to come from shared memory for
// each product. A warp's 64 x 64 needs 8 ldmatrix for 32 products, half the bandwidth of shared
// memory on an A100; two blocks per multiprocessor cover each other's barriers.
using ManyRows = LinearTile<128, 128, 32, 2, 2, 4, 2>;

uint32_t ceil_div(int64_t a, int64_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

LinearArguments arguments_of(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out) {
  LinearArguments arguments{};
  arguments.x = x.data;
  arguments.weight = weight.data();
  arguments.bias = weight.bias();
  arguments.out = out.data;
  arguments.x_stride = x.stride;
  arguments.out_stride = out.stride;
  arguments.rows = static_cast<int32_t>(x.rows);
  arguments.out_features = static_cast<int32_t>(weight.out_features());
  arguments.in_features = static_cast<int32_t>(weight.in_features());
  const size_t pair_bytes = 2 * dtype_size(out.dtype);
  arguments.pairs = reinterpret_cast<uintptr_t>(out.data) % pair_bytes == 0 &&
                    (out.rows <= 1 || out.stride % 2 == 0);
  return arguments;
}

template <typename E, typename Out, typename Tile>
void launch_tiles(Device& device, LinearArguments arguments) {
  const uint32_t row_tiles = ceil_div(arguments.rows, Tile::kRows);
  arguments.row_tiles = static_cast<int32_t>(row_tiles);
  const LaunchShape shape = {
      .grid = {std::min(row_tiles, kRowTilesPerGroup),
               ceil_div(arguments.out_features, Tile::kCols),
               ceil_div(row_tiles, kRowTilesPerGroup)},
      .threads = Tile::kThreads,
      .shared_bytes = Tile::kSharedBytes,
  };
  launch<linear_mma_kernel<E, Out, Tile>>(device, shape, arguments);
}

template <typename E, typename Out>
void launch_mma(Device& device, const LinearArguments& arguments, LinearTiles tiles) {
  switch (tiles) {
    case LinearTiles::kFewRows:
      return launch_tiles<E, Out, FewRows>(device, arguments);
    case LinearTiles::kSomeRows:
      return launch_tiles<E, Out, SomeRows>(device, arguments);
    case LinearTiles::kManyRows:
      return launch_tiles<E, Out, ManyRows>(device, arguments);
  }
}

template <typename E, typename Out>
void launch_plain(Device& device, const LinearArguments& arguments) {
  const LaunchShape shape = {
      .grid = {static_cast<uint32_t>(arguments.rows), ceil_div(arguments.out_features, 128)},
      .threads = 128,
  };
  launch<linear_plain_kernel<E, Out>>(device, shape, arguments);
}

// Calls body.operator()<E, Out>().
template <typename Body>
void with_types(DType element, DType out, Body body) {
  if (element == DType::kBF16) {
    if (out == DType::kF32) return body.template operator()<Bf16, float>();
    return body.template operator()<Bf16, Bf16>();
  }
  if (out == DType::kF32) return body.template operator()<F16, float>();
  return body.template operator()<F16, F16>();
}

}  // namespace

void check_linear(const Tensor& x, const CudaLinearWeight& weight, const Tensor& out) {
  const bool types =
      x.dtype == weight.dtype() && (out.dtype == x.dtype || out.dtype == DType::kF32);
  const bool shapes = x.rows == out.rows && x.cols == weight.in_features() &&
                      out.cols == weight.out_features() && rows_apart(x) && rows_apart(out);
  if (!types || !shapes || !rows_aligned(x)) {
    refuse("linear", describe(x) + " to " + describe(out) + " does not fit a weight of " +
                         dtype_name(weight.dtype()) + " " + std::to_string(weight.out_features()) +
                         " x " + std::to_string(weight.in_features()) +
                         (rows_aligned(x) ? "" : "; rows of x must be 16-byte aligned"));
  }
  // The grid's second dimension ends at 65535 tiles.
  if (x.rows > std::numeric_limits<int32_t>::max() / 2 ||
      out.cols > int64_t{65535} * FewRows::kCols) {
    refuse("linear", describe(out) + " is more than one call computes");
  }
}

LinearTiles linear_tiles(int64_t rows, int64_t out_features, int multiprocessors) {
  if (rows <= FewRows::kRows) return LinearTiles::kFewRows;
  const int64_t large_tiles =
      int64_t{ceil_div(rows, ManyRows::kRows)} * ceil_div(out_features, ManyRows::kCols);
  const bool fills = rows > SomeRows::kRows && large_tiles >= multiprocessors;
  return fills ? LinearTiles::kManyRows : LinearTiles::kSomeRows;
}

void linear_mma(Device& device, const Tensor& x, const CudaLinearWeight& weight, const Tensor& out,
                std::optional<LinearTiles> tiles) {
  check_linear(x, weight, out);
  const LinearTiles chosen =
      tiles ? *tiles : linear_tiles(x.rows, out.cols, device.properties().multiprocessors);
  with_types(x.dtype, out.dtype, [&]<typename E, typename Out>() {
    launch_mma<E, Out>(device, arguments_of(x, weight, out), chosen);
  });
}

void linear_plain(Device& device, const Tensor& x, const CudaLinearWeight& weight,
                  const Tensor& out) {
  check_linear(x, weight, out);
  with_types(x.dtype, out.dtype, [&]<typename E, typename Out>() {
    launch_plain<E, Out>(device, arguments_of(x, weight, out));
  });
}

}  // namespace block_attention::cuda
