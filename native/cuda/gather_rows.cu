#include "cuda/gather_rows.hpp"

#include "cuda/launch.cuh"
#include "cuda/primitives.cuh"
#include "cuda/tensor_check.hpp"

namespace block_attention::cuda {
namespace {

constexpr int kThreads = 256;

// In units of 16 bytes. Grid: (rows of out, kThreads units each).
__global__ void __launch_bounds__(kThreads)
    gather_rows_kernel(const U32x4* x, int64_t x_stride, const int32_t* rows, int32_t units,
                       U32x4* out, int64_t out_stride) {
  const int64_t row = blockIdx.x;
  const int unit = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (unit >= units) return;
  const int64_t from = ldg(rows + row);
  stg(out + row * out_stride + unit, ldg(x + from * x_stride + unit));
}

}  // namespace

void gather_rows(Device& device, const Tensor& x, const int32_t* rows, const Tensor& out) {
  const auto per_unit = static_cast<int64_t>(16 / dtype_size(out.dtype));
  if (x.dtype != out.dtype || x.cols != out.cols || out.cols % per_unit != 0 || !rows_apart(x) ||
      !rows_apart(out) || !rows_aligned(x) || !rows_aligned(out)) {
    refuse("gather_rows", describe(x) + " to " + describe(out) +
                              "; it takes 16-byte aligned rows of a multiple of 16 bytes");
  }
  const int64_t units = out.cols / per_unit;
  const auto blocks = static_cast<uint32_t>((units + kThreads - 1) / kThreads);
  launch<gather_rows_kernel>(
      device, {.grid = {static_cast<uint32_t>(out.rows), blocks}, .threads = kThreads},
      static_cast<const U32x4*>(x.data), x.stride / per_unit, rows, static_cast<int32_t>(units),
      static_cast<U32x4*>(out.data), out.stride / per_unit);
}

}  // namespace block_attention::cuda
