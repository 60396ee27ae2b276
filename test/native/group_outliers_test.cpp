// Which weights int8 would spoil is told from the weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "model/group_outliers.hpp"
#include "model/score_error.hpp"

namespace block_attention {
namespace {

constexpr uint32_t kSeed = 20261125;

std::vector<float> normal_values(int64_t count, float deviation) {
  std::mt19937 rng(kSeed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(rng);
  return values;
}

HostMatrix matrix(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), DType::kF32, rows, cols};
}

TEST(GroupOutliersTest, SeesColumnsThatRuleTheirGroups) {
  std::vector<float> values = normal_values(200 * 640, 0.1f);
  const double normal = group_outliers(matrix(values, 200, 640));
  EXPECT_GT(normal, 1.2);
  EXPECT_LT(normal, 1.45);
  for (int64_t row = 0; row < 200; ++row) values[static_cast<size_t>(row * 640 + 100)] *= 20;
  EXPECT_GT(group_outliers(matrix(values, 200, 640)), 1.75);
}

TEST(GroupOutliersTest, TakesAnyShape) {
  const std::vector<float> values = normal_values(70 * 70, 1);
  for (int64_t cols : {1, 31, 32, 33, 63, 64, 65, 70}) {
    const double ratio = group_outliers(matrix(values, 70, cols));
    EXPECT_GE(ratio, 1);
    EXPECT_LE(ratio, 2);
  }
  EXPECT_EQ(group_outliers(matrix(std::vector<float>(640), 10, 64)), 1);
}

// Two projections with rows of length `deviation` x sqrt(cols): |q| |k| / D grows with its square.
double error_of(float deviation, const std::vector<float>& bias, const std::vector<float>& norm) {
  const std::vector<float> q = normal_values(4 * 64 * 256, deviation);
  const std::vector<float> k = normal_values(2 * 64 * 256, deviation);
  const std::vector<float> input_norm(256, 1.0f);
  return score_error({matrix(q, 4 * 64, 256), {}, norm}, {matrix(k, 2 * 64, 256), bias, norm},
                     input_norm, 64);
}

TEST(ScoreErrorTest, GrowsWithTheLengthsOfQueriesAndKeys) {
  // q and k have a length of sqrt(64 x 256) x deviation.
  const double expected = 2.4 / 127 * std::sqrt(1.25 / 12) * std::sqrt(2.0) * 256 * 0.01;
  EXPECT_NEAR(error_of(0.1f, {}, {}), expected, 0.1 * expected);
  EXPECT_NEAR(error_of(0.2f, {}, {}), 4 * expected, 0.4 * expected);
}

TEST(ScoreErrorTest, CountsWhatABiasAddsToTheOtherSide) {
  const std::vector<float> bias(128, 16.0f);
  // Keys are ten times as long, and no less exact: only the queries' error weighs more.
  EXPECT_GT(error_of(0.1f, bias, {}), 5 * error_of(0.1f, {}, {}));
}

TEST(ScoreErrorTest, DependsOnTheNormOfHeadsWhereThereIsOne) {
  const std::vector<float> one(64, 1.0f);
  const std::vector<float> two(64, 2.0f);
  EXPECT_NEAR(error_of(0.1f, {}, one), error_of(3.0f, {}, one), 1e-6);
  EXPECT_NEAR(error_of(0.1f, {}, two), 4 * error_of(0.1f, {}, one), 1e-6);
}

}  // namespace
}  // namespace block_attention
