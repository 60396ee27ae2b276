// The GPU's matrix products against float64, and against themselves: the same bits for every tile
// and every number of rows.
#include "cuda/linear.hpp"

#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"
#include "linear_source.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::kInf;
using block_attention::test::kNan;
using block_attention::test::linear_reference;
using block_attention::test::LinearSource;
using block_attention::test::LinearSum;
using block_attention::test::make_linear_source;
using block_attention::test::Random;
using block_attention::test::same_bits;

constexpr LinearTiles kTiles[] = {LinearTiles::kFewRows, LinearTiles::kSomeRows,
                                  LinearTiles::kManyRows};

class CudaLinearTest : public DeviceTest {
 protected:
  std::unique_ptr<CudaLinearWeight> upload(const LinearSource& source, DType element) {
    PinnedStaging staging(device(), 1 << 16);
    return upload_linear(device(), staging, source.parts, source.bias, element);
  }

  // x is dense; on the device its rows have `x_gap` columns of NaN between them, and out's
  // `out_gap`.
  std::vector<float> mma(const std::vector<float>& x, const CudaLinearWeight& weight,
                         DType out_type, std::optional<LinearTiles> tiles, int64_t x_gap = 8,
                         int64_t out_gap = 2) {
    const int64_t depth = weight.in_features();
    const int64_t rows = static_cast<int64_t>(x.size()) / depth;
    const DeviceTensor in(device(), weight.dtype(), rows, depth, depth + x_gap, x);
    const int64_t cols = weight.out_features();
    const DeviceTensor out(device(), out_type, rows, cols, cols + out_gap);
    linear_mma(device(), in.view(), weight, out.view(), tiles);
    return out.read();
  }
};

// Sums of float32 over `steps` products of m16n8k16, or as many fmaf.
void expect_near(const std::vector<float>& out, const std::vector<float>& x,
                 const LinearSource& source, DType element, DType out_type, int64_t steps) {
  const int64_t depth = source.in_features;
  const int64_t cols = source.out_features;
  for (size_t e = 0; e < out.size(); ++e) {
    const int64_t row = static_cast<int64_t>(e) / cols;
    const int64_t col = static_cast<int64_t>(e) % cols;
    const double bias = source.bias.empty() ? 0 : double{source.bias[static_cast<size_t>(col)]};
    const LinearSum expected =
        linear_reference(x.data() + row * depth, depth, bias,
                         [&](int64_t k) { return rounded(source.at(col, k), element); });
    // A card may cut off below a bit or two more than a float's; errors add up as a random walk.
    const double sums = (2 * std::sqrt(static_cast<double>(steps)) + 4) * 0x1p-23 * expected.size;
    const double allowed = sums + allowed_error(std::abs(expected.value) + sums, out_type, 1);
    ASSERT_LE(std::abs(double{out[e]} - expected.value), allowed)
        << dtype_name(element) << " to " << dtype_name(out_type) << " row " << row << " column "
        << col << " of " << cols << ", depth " << depth;
  }
}

TEST_F(CudaLinearTest, RaggedShapesInEveryTile) {
  const uint64_t seed = 171;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::mt19937 rng(static_cast<uint32_t>(seed));
  for (int round = 0; round < 48; ++round) {
    const DType element = kHalfTypes[round % 2];
    const DType out_type = round % 4 < 2 ? element : DType::kF32;
    const LinearTiles tiles = kTiles[round % 3];
    const bool large = tiles == LinearTiles::kManyRows;
    const int64_t rows = random.between(1, large ? 140 : 70);
    const int64_t cols = random.between(1, large ? 140 : 100);
    const int64_t depth = 8 * random.between(1, round % 5 == 0 ? 70 : 20);
    const LinearSource source = make_linear_source(rng, element, {cols}, depth, random.chance(0.5));
    const auto weight = upload(source, element);
    const std::vector<float> x =
        rounded(random.normals(static_cast<size_t>(rows * depth)), element);
    const std::vector<float> out =
        mma(x, *weight, out_type, tiles, 8 * random.between(0, 2), random.between(0, 3));
    ASSERT_NO_FATAL_FAILURE(expect_near(out, x, source, element, out_type, depth / 16 + 1));
  }
}

// One row, one column, one chunk of depth; whole tiles; one more and one less of each.
TEST_F(CudaLinearTest, EdgesOfTheTiles) {
  Random random(172);
  std::mt19937 rng(172);
  struct Shape {
    LinearTiles tiles;
    int64_t rows, cols, depth;
  };
  const Shape shapes[] = {
      {LinearTiles::kFewRows, 1, 1, 8},       {LinearTiles::kFewRows, 16, 32, 128},
      {LinearTiles::kFewRows, 17, 33, 136},   {LinearTiles::kFewRows, 15, 31, 120},
      {LinearTiles::kFewRows, 1, 32, 896},    {LinearTiles::kSomeRows, 1, 1, 8},
      {LinearTiles::kSomeRows, 64, 64, 64},   {LinearTiles::kSomeRows, 65, 65, 72},
      {LinearTiles::kSomeRows, 63, 63, 448},  {LinearTiles::kManyRows, 1, 1, 8},
      {LinearTiles::kManyRows, 128, 128, 32}, {LinearTiles::kManyRows, 129, 129, 40},
      {LinearTiles::kManyRows, 127, 127, 160}};
  for (const Shape& shape : shapes) {
    const LinearSource source =
        make_linear_source(rng, DType::kBF16, {shape.cols}, shape.depth, true);
    const auto weight = upload(source, DType::kBF16);
    const std::vector<float> x =
        rounded(random.normals(static_cast<size_t>(shape.rows * shape.depth)), DType::kBF16);
    const std::vector<float> out = mma(x, *weight, DType::kF32, shape.tiles);
    ASSERT_NO_FATAL_FAILURE(
        expect_near(out, x, source, DType::kBF16, DType::kF32, shape.depth / 16 + 1));
  }
}

TEST_F(CudaLinearTest, EveryTileAndRowCountGivesTheSameBits) {
  Random random(173);
  std::mt19937 rng(173);
  for (const DType element : kHalfTypes) {
    for (const DType out_type : {element, DType::kF32}) {
      const int64_t depth = 328;
      const int64_t cols = 75;
      const LinearSource source = make_linear_source(rng, element, {cols}, depth, true);
      const auto weight = upload(source, element);
      const std::vector<float> x =
          rounded(random.normals(static_cast<size_t>(131 * depth)), element);
      const std::vector<float> all = mma(x, *weight, out_type, LinearTiles::kManyRows);
      EXPECT_TRUE(same_bits(mma(x, *weight, out_type, LinearTiles::kSomeRows), all));
      EXPECT_TRUE(same_bits(mma(x, *weight, out_type, LinearTiles::kFewRows), all));
      for (const int64_t rows : {1, 2, 16, 17, 50, 64, 65}) {
        const std::vector<float> part =
            mma({x.begin(), x.begin() + rows * depth}, *weight, out_type, std::nullopt);
        EXPECT_TRUE(same_bits(part, {all.begin(), all.begin() + rows * cols})) << rows;
      }
      const std::vector<float> last =
          mma({x.begin() + 130 * depth, x.end()}, *weight, out_type, std::nullopt);
      EXPECT_TRUE(same_bits(last, {all.begin() + 130 * cols, all.end()}));
    }
  }
}

TEST_F(CudaLinearTest, MoreRowTilesThanAGroupHas) {
  // 33 tiles of 16 rows: the last one is in the grid's second group.
  Random random(174);
  std::mt19937 rng(174);
  constexpr int64_t kRows = 32 * 16 + 5;
  const LinearSource source = make_linear_source(rng, DType::kF16, {9}, 24, false);
  const auto weight = upload(source, DType::kF16);
  const std::vector<float> x = rounded(random.normals(kRows * 24), DType::kF16);
  const std::vector<float> out = mma(x, *weight, DType::kF32, LinearTiles::kFewRows);
  expect_near(out, x, source, DType::kF16, DType::kF32, 2);
}

TEST_F(CudaLinearTest, InfinityAndNanReachOnlyTheirOwnRowsAndColumns) {
  std::mt19937 rng(175);
  Random random(175);
  constexpr int64_t kDepth = 72;
  LinearSource source = make_linear_source(rng, DType::kF32, {40}, kDepth, false);
  const float infinity = kInf;
  std::memcpy(source.bytes[0].data() + 1 + (33 * kDepth + 5) * 4, &infinity, 4);
  const auto weight = upload(source, DType::kBF16);
  for (const LinearTiles tiles : kTiles) {
    std::vector<float> x = random.normals(30 * kDepth);
    x[1 * kDepth + 71] = kNan;
    const std::vector<float> out = mma(x, *weight, DType::kF32, tiles);
    for (size_t e = 0; e < out.size(); ++e) {
      EXPECT_EQ(std::isnan(out[e]), e / 40 == 1) << e;
      EXPECT_EQ(std::isinf(out[e]), e / 40 != 1 && e % 40 == 33) << e;
    }
  }
}

TEST_F(CudaLinearTest, PlainKernelSumsInOrder) {
  Random random(176);
  std::mt19937 rng(176);
  for (const DType element : kHalfTypes) {
    for (const DType out_type : {element, DType::kF32}) {
      const int64_t depth = 136;
      const LinearSource source = make_linear_source(rng, element, {130}, depth, true);
      const auto weight = upload(source, element);
      const std::vector<float> x = rounded(random.normals(static_cast<size_t>(3 * depth)), element);
      const DeviceTensor in(device(), element, 3, depth, depth, x);
      const DeviceTensor out(device(), out_type, 3, 130, 133);
      linear_plain(device(), in.view(), *weight, out.view());
      const std::vector<float> got = out.read();
      for (int64_t row = 0; row < 3; ++row) {
        for (int64_t col = 0; col < 130; ++col) {
          float sum = 0;
          for (int64_t k = 0; k < depth; ++k) {
            sum = std::fma(x[static_cast<size_t>(row * depth + k)], source.at(col, k), sum);
          }
          sum += source.bias[static_cast<size_t>(col)];
          ASSERT_EQ(got[static_cast<size_t>(row * 130 + col)], rounded(sum, out_type));
        }
      }
    }
  }
}

TEST_F(CudaLinearTest, TheDeterministicOpIsTheOwnKernel) {
  Random random(177);
  std::mt19937 rng(177);
  const LinearSource source = make_linear_source(rng, DType::kBF16, {24}, 64, true);
  const auto weight = upload(source, DType::kBF16);
  const std::vector<float> x = rounded(random.normals(5 * 64), DType::kBF16);
  CudaLinear linear(device(), true);
  EXPECT_EQ(linear.description(), "own GEMM (mma.sync)");
  EXPECT_EQ(linear.problem(), "");
  const DeviceTensor in(device(), DType::kBF16, 5, 64, 64, x);
  const DeviceTensor out(device(), DType::kBF16, 5, 24, 24);
  linear.run(in.view(), *weight, out.view());
  EXPECT_TRUE(same_bits(out.read(), mma(x, *weight, DType::kBF16, std::nullopt)));
}

// Through cuBLASLt where that is installed, else through the own kernel: never far off.
TEST_F(CudaLinearTest, TheFastOpComputesTheSameProduct) {
  Random random(178);
  std::mt19937 rng(178);
  CudaLinear linear(device(), false);
  EXPECT_EQ(linear.problem().empty(), linear.description() != "own GEMM (mma.sync)");
  for (const DType element : kHalfTypes) {
    for (const DType out_type : {element, DType::kF32}) {
      for (const bool bias : {false, true}) {
        for (const int64_t rows : {1, 7, 100}) {
          LinearSource source = make_linear_source(rng, element, {96, 32}, 256, bias);
          // One that the element type holds goes through the library, another does not.
          if (rows != 7) source.bias = rounded(source.bias, element);
          const auto weight = upload(source, element);
          EXPECT_EQ(weight->element_bias() != nullptr, bias && rows != 7);
          const std::vector<float> x =
              rounded(random.normals(static_cast<size_t>(rows) * 256), element);
          const DeviceTensor in(device(), element, rows, 256, 264, x);
          const DeviceTensor out(device(), out_type, rows, 128, 136);
          linear.run(in.view(), *weight, out.view());
          ASSERT_NO_FATAL_FAILURE(expect_near(out.read(), x, source, element, out_type, 256));
        }
      }
    }
  }
}

TEST_F(CudaLinearTest, NoRowsAreNoWork) {
  std::mt19937 rng(179);
  const auto weight = upload(make_linear_source(rng, DType::kBF16, {24}, 64, true), DType::kBF16);
  EXPECT_TRUE(mma({}, *weight, DType::kF32, std::nullopt).empty());
}

TEST_F(CudaLinearTest, BadInputIsRefused) {
  std::mt19937 rng(180);
  const auto weight = upload(make_linear_source(rng, DType::kBF16, {24}, 64, true), DType::kBF16);
  const DeviceTensor x(device(), DType::kBF16, 4, 64, 72);
  const DeviceTensor out(device(), DType::kBF16, 4, 24, 24);
  const auto refused = [&](const Tensor& from, const Tensor& to) {
    try {
      linear_mma(device(), from, *weight, to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(
      DeviceTensor(device(), DType::kBF16, 4, 64, 64, std::vector<float>(256)).view(), out.view()));
  device().synchronize();
  EXPECT_TRUE(refused(x.view().columns(0, 56), out.view()));
  EXPECT_TRUE(refused(x.view(), out.view().columns(0, 23)));
  EXPECT_TRUE(refused(x.view().row_range(0, 3), out.view()));
  EXPECT_TRUE(refused(x.view().columns(1, 64), out.view()));
  Tensor close = x.view();
  close.stride = 63;
  EXPECT_TRUE(refused(close, out.view()));
  Tensor other = x.view();
  other.dtype = DType::kF16;
  EXPECT_TRUE(refused(other, out.view()));
  Tensor to = out.view();
  to.dtype = DType::kF16;
  EXPECT_TRUE(refused(x.view(), to));
}

}  // namespace
}  // namespace block_attention::cuda::test
