// A product with SwiGLU right behind it, and its output packed for the next product: the same bits
// as op by op.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/dtype.hpp"
#include "cpu/aligned_floats.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/gated_part.hpp"
#include "cpu/isa.hpp"
#include "cpu/linear.hpp"
#include "linear_source.hpp"
#include "linear_support.hpp"
#include "model/backend.hpp"

namespace block_attention {
namespace {

using test::error_code_of;
using test::kPoison;
using test::LinearSource;
using test::make_linear_source;
using test::random_values;
using test::view;

struct Format {
  const char* name;
  DType dtype;
  WeightFormat gate_up;
  WeightFormat down;
};

constexpr Format kInt8 = {"int8", DType::kBF16, WeightFormat::kInt8, WeightFormat::kInt8};
constexpr Format kFormats[] = {
    {"bf16", DType::kBF16, WeightFormat::kStored, WeightFormat::kStored},
    {"f16", DType::kF16, WeightFormat::kStored, WeightFormat::kStored},
    {"f32", DType::kF32, WeightFormat::kStored, WeightFormat::kStored},
    kInt8,
    {"bf16_then_int8", DType::kBF16, WeightFormat::kStored, WeightFormat::kInt8},
    {"int8_then_bf16", DType::kBF16, WeightFormat::kInt8, WeightFormat::kStored},
};

struct Mlp {
  Mlp(Backend& backend, const Format& format, int64_t hidden, int64_t intermediate, bool bias) {
    std::mt19937 rng(20261128);
    const LinearSource in =
        make_linear_source(rng, format.dtype, {intermediate, intermediate}, hidden, bias);
    const LinearSource out = make_linear_source(rng, format.dtype, {hidden}, intermediate, false);
    gate_up = backend.make_linear(in.parts, in.bias, {}, format.gate_up);
    down = backend.make_linear(out.parts, out.bias, {}, format.down);
  }

  int64_t hidden() const { return gate_up->in_features(); }
  int64_t intermediate() const { return down->in_features(); }

  std::unique_ptr<LinearWeight> gate_up;
  std::unique_ptr<LinearWeight> down;
};

class GatedTest : public testing::TestWithParam<std::tuple<Isa, int, Format>> {
 protected:
  GatedTest() : backend_(make_cpu_backend(std::get<1>(GetParam()), std::get<0>(GetParam()))) {}

  // In one op, and op by op. `change`: of the activations.
  void expect_same(const Mlp& mlp, int64_t rows, int64_t gap,
                   const std::function<void(std::vector<float>& x)>& change = {}) {
    SCOPED_TRACE(std::to_string(rows) + " rows, " + std::to_string(mlp.hidden()) + " to " +
                 std::to_string(mlp.intermediate()) + ", gap " + std::to_string(gap));
    std::mt19937 rng(static_cast<uint32_t>(rows));
    const int64_t hidden = mlp.hidden();
    const int64_t inner = mlp.intermediate();
    std::vector<float> x = random_values(rng, rows * hidden);
    if (change) change(x);
    std::vector<float> gate_up(static_cast<size_t>(rows * 2 * inner), kPoison);
    const int64_t values = rows * (inner + gap);
    AlignedFloats gated;
    gated.reserve(values);
    std::fill_n(gated.data(), values, kPoison);
    std::vector<float> expected(static_cast<size_t>(rows * hidden), kPoison);
    std::vector<float> out = expected;
    const Tensor x_view = view(x, rows, hidden, hidden);
    const Tensor gate_up_view = view(gate_up, rows, 2 * inner, 2 * inner);
    const Tensor gated_view = {gated.data(), DType::kF32, rows, inner, inner + gap};

    backend_->linear(x_view, *mlp.gate_up, gate_up_view);
    backend_->swiglu(gate_up_view, gated_view);
    backend_->linear(gated_view, *mlp.down, view(expected, rows, hidden, hidden));
    const std::vector<float> plain(gated.data(), gated.data() + values);

    std::fill(gate_up.begin(), gate_up.end(), kPoison);
    std::fill_n(gated.data(), values, kPoison);
    const Tensor result =
        backend_->linear_swiglu(x_view, *mlp.gate_up, gate_up_view, gated_view, *mlp.down);
    EXPECT_EQ(result.data, gated_view.data);
    packed_ = result.packed;
    if (!result.packed) {
      EXPECT_EQ(std::memcmp(gated.data(), plain.data(), plain.size() * sizeof(float)), 0);
    }
    backend_->linear(result, *mlp.down, view(out, rows, hidden, hidden));
    EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0);
  }

  bool packs(int64_t rows, int64_t intermediate) const {
    const Format& format = std::get<2>(GetParam());
    if (format.gate_up != WeightFormat::kStored || format.down != WeightFormat::kStored)
      return false;
    const bool by_tiles = std::get<0>(GetParam()) == Isa::kAmxBf16 && format.dtype == DType::kBF16;
    return by_tiles ? rows >= 16 && intermediate % 32 == 0 : rows > 8;
  }

  std::unique_ptr<Backend> backend_;
  bool packed_ = false;
};

TEST_P(GatedTest, GivesTheBitsOfTwoOps) {
  // Odd numbers of inputs, of panels and of panels a task; more steps than a block; fewer rows than
  // are worth it, and more than a pass, a row block and a group.
  for (const auto& [hidden, intermediate] :
       {std::pair<int64_t, int64_t>{33, 48}, {96, 1072}, {33, 96}, {96, 1056}}) {
    const Mlp mlp(*backend_, std::get<2>(GetParam()), hidden, intermediate, hidden == 33);
    for (const int64_t rows : {1, 8, 9, 16, 50, 201}) {
      expect_same(mlp, rows, 0);
      EXPECT_EQ(packed_, packs(rows, intermediate));
    }
  }
  const Mlp mlp(*backend_, std::get<2>(GetParam()), 40, 1072, false);
  // What is left behind a pass of 768 rows of int8 takes the same kernel, or another one.
  for (const int64_t rows : {777, 770}) {
    expect_same(mlp, rows, 0);
    EXPECT_EQ(packed_, packs(rows, 1072));
  }
  // More rows than tiles take in a pass.
  const Mlp even(*backend_, std::get<2>(GetParam()), 40, 160, false);
  for (const int64_t rows : {1'037, 2'060}) {
    expect_same(even, rows, 0);
    EXPECT_EQ(packed_, packs(rows, 160));
  }
  // More inputs than activations are kept in a cache of.
  const Mlp wide(*backend_, std::get<2>(GetParam()), 2'600, 96, true);
  expect_same(wide, 40, 0);
}

// Of more inputs than a block has rows for, tiles take fewer rows at a time, but no fewer in a
// pass.
TEST_P(GatedTest, PacksRowsInTheGroupsOfTheNextProduct) {
  const int64_t rows = std::get<0>(GetParam()) == Isa::kAmxBf16 ? 900 : 60;
  const Mlp mlp(*backend_, std::get<2>(GetParam()), 40, 2'080, false);
  expect_same(mlp, rows, 0);
  EXPECT_EQ(packed_, packs(rows, 2'080));
}

TEST_P(GatedTest, PacksOnlyWhereThereIsRoom) {
  const Mlp mlp(*backend_, std::get<2>(GetParam()), 32, 64, false);
  expect_same(mlp, 20, 5);
  EXPECT_FALSE(packed_);
}

TEST_P(GatedTest, HalvesThatAreNotWholePanelsGoOpByOp) {
  EXPECT_FALSE(can_be_gated(2 * 40, 20));
  const Mlp mlp(*backend_, std::get<2>(GetParam()), 32, 40, false);
  expect_same(mlp, 20, 0);
  EXPECT_FALSE(packed_);
}

TEST_P(GatedTest, RefusesWhatDoesNotFit) {
  const Mlp mlp(*backend_, std::get<2>(GetParam()), 32, 64, false);
  std::vector<float> memory(size_t{20} * 256);
  const Tensor room = view(memory, 20, 128, 128);
  const auto run = [&](const Tensor& x, const Tensor& out) {
    return error_code_of([&] { backend_->linear_swiglu(x, *mlp.gate_up, room, out, *mlp.down); });
  };
  EXPECT_EQ(run(view(memory, 20, 33, 33), view(memory, 20, 64, 64)), "INVALID_ARGUMENT");
  EXPECT_EQ(run(view(memory, 20, 32, 32), view(memory, 20, 63, 64)), "INVALID_ARGUMENT");
  EXPECT_EQ(run(view(memory, 20, 32, 32), view(memory, 20, 128, 128)), "INVALID_ARGUMENT");
  EXPECT_EQ(run(view(memory, 20, 32, 32), view(memory, 19, 64, 64)), "INVALID_ARGUMENT");
  // Tiles never pack so few rows: they were packed for something else.
  if (packs(16, 64) && !packs(9, 64)) {
    std::vector<float> few(size_t{8} * 64);
    Tensor x = view(few, 8, 64, 64);
    x.packed = true;
    EXPECT_EQ(error_code_of([&] { backend_->linear(x, *mlp.down, view(memory, 8, 32, 32)); }),
              "INTERNAL");
  }
}

// By tiles: row groups in twos behind each other, several panels of a part, and one block of inputs
// or two, of 32 groups and of fewer.
class GatedInt8Test : public GatedTest {
 protected:
  static constexpr int64_t kIntermediate = 512;
};

TEST_P(GatedInt8Test, GivesTheBitsOfTwoOpsInSeveralBlocks) {
  for (const int64_t hidden : {600, 2'600}) {
    const Mlp mlp(*backend_, std::get<2>(GetParam()), hidden, kIntermediate, true);
    for (const int64_t rows : {64, 256, 257, 512}) expect_same(mlp, rows, 0);
  }
}

TEST_P(GatedInt8Test, GivesTheBitsOfTwoOpsWhereFewHaveSecondTerms) {
  constexpr int64_t kHidden = 2'600;
  constexpr int64_t kBlock = 2'048;
  const Mlp mlp(*backend_, std::get<2>(GetParam()), kHidden, 160, false);
  const auto outliers = [](int64_t first_row, int64_t last_row, int64_t first, int64_t last) {
    return [=](std::vector<float>& x) {
      const int64_t rows = std::min(static_cast<int64_t>(x.size()) / kHidden, last_row);
      for (int64_t row = first_row; row < rows; ++row) {
        for (int64_t k = first + row % 64; k < last; k += 64 + row % 5)
          x[static_cast<size_t>(row * kHidden + k)] *= 100;
      }
    };
  };
  for (const int64_t rows : {64, 257}) {
    for (const auto& [first, last] :
         {std::pair<int64_t, int64_t>{0, kBlock}, {kBlock, kHidden}, {0, kHidden}}) {
      SCOPED_TRACE("inputs " + std::to_string(first) + " to " + std::to_string(last));
      expect_same(mlp, rows, 0, outliers(0, rows, first, last));
      // Of one group of rows.
      expect_same(mlp, rows, 0, outliers(16, 32, first, last));
    }
  }
}

std::string name_of(const testing::TestParamInfo<GatedTest::ParamType>& info) {
  return std::string(isa_name(std::get<0>(info.param))) + "_" +
         std::to_string(std::get<1>(info.param)) + "_threads_" + std::get<2>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(All, GatedTest,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::Values(1, 3), testing::ValuesIn(kFormats)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, GatedInt8Test,
                         testing::Combine(testing::ValuesIn(supported_isas()),
                                          testing::Values(1, 2), testing::Values(kInt8)),
                         name_of);

}  // namespace
}  // namespace block_attention
