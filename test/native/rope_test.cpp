#include "cpu/rope.hpp"

#include "attention_fixture.hpp"
#include "cpu/cpu_vector.hpp"
#include "rms_norm_reference.hpp"

namespace block_attention::test {
namespace {

class RopeTest : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, RopeTest, ::testing::ValuesIn(supported_isas()), IsaName());

struct RopeShape {
  int32_t head_dim;
  int32_t rotary_dim;
  DType dtype;
  bool norm;
  double factor;
};

const RopeShape kShapes[] = {
    {64, 64, DType::kF32, false, 1},   {128, 128, DType::kBF16, false, 1},
    {24, 24, DType::kF32, true, 1.1},  {80, 20, DType::kBF16, true, 1},
    {256, 64, DType::kF32, true, 1.2}, {8, 2, DType::kF32, false, 1},
    {64, 64, DType::kI8, true, 1},     {24, 8, DType::kI8, false, 1.1},
};

// Tokens 13 .. 13 + 41 of a block: slots, pages and tasks are all crossed.
constexpr int32_t kBegin = 13;
constexpr int32_t kRows = 41;

class Stored {
 public:
  Stored(Isa isa, const RopeShape& shape, int threads)
      : shape_(shape),
        config_(attention_config(2, 3, shape.head_dim, shape.rotary_dim, shape.factor)),
        pool_(threads),
        table_(config_.inv_freq, config_.rope_attention_factor),
        kv_({2, 2, shape.head_dim, shape.dtype}, 9),
        pages_{5, 0, 7, 2} {
    std::memset(kv_.k(0, 0, 0), 0xff, kv_.page_bytes() * 9);
    Random random(31);
    cols_ = (6 + 4) * shape.head_dim;
    qkv_ = random.normals(static_cast<size_t>(kRows) * cols_);
    before_ = qkv_;
    q_norm_ = random.normals(static_cast<size_t>(shape.head_dim));
    k_norm_ = random.normals(static_cast<size_t>(shape.head_dim));
    const CpuVector q_norm(q_norm_);
    const CpuVector k_norm(k_norm_);
    const StepSegment segment = {pages_, kBegin + kRows, kBegin};
    const StepSequence sequence = {0, kRows, kBegin, {&segment, 1}};
    const std::vector<int32_t> tokens(kRows);
    const QkNorm norm = shape.norm ? QkNorm{&q_norm, &k_norm, 1e-6f} : QkNorm{};
    RopeStore(pool_, isa, config_)
        .run({qkv_.data(), DType::kF32, kRows, cols_, cols_}, {tokens, {&sequence, 1}}, norm,
             table_, 1, kv_);
  }

  std::vector<double> row(int32_t token, int32_t head) const {
    const auto at = before_.begin() + int64_t{token} * cols_ + int64_t{head} * shape_.head_dim;
    return std::vector<double>(at, at + shape_.head_dim);
  }

  RopeShape shape_;
  AttentionConfig config_;
  ThreadPool pool_;
  RopeTable table_;
  CpuKvStorage kv_;
  std::vector<PageId> pages_;
  int64_t cols_ = 0;
  std::vector<float> qkv_;
  std::vector<float> before_;
  std::vector<float> q_norm_;
  std::vector<float> k_norm_;
};

// Half a step of int8, and the roundings of norm, RoPE and scale.
constexpr double kInt8Step = 1.0001 / 254;

double greatest(const std::vector<double>& values) {
  double most = 0;
  for (double value : values) most = std::max(most, std::abs(value));
  return most;
}

TEST_P(RopeTest, StoresNormedRotatedKeysAndPlainValues) {
  for (const RopeShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim << ", rotary "
                                    << shape.rotary_dim << ", " << dtype_name(shape.dtype));
    const Stored stored(GetParam(), shape, 2);
    // Half a unit in the last place of the stored precision, and the roundings of norm and RoPE.
    const double rounding = shape.dtype == DType::kBF16 ? 0x1p-8 : 0;
    for (int32_t token = 0; token < kRows; ++token) {
      const int32_t local = kBegin + token;
      const PageId page = stored.pages_[static_cast<size_t>(local / 16)];
      for (int32_t head = 0; head < 2; ++head) {
        std::vector<double> k = stored.row(token, 6 + head);
        if (shape.norm) k = rms_norm_reference(k, stored.k_norm_, 1e-6f);
        double largest = 0;
        for (double x : k) largest = std::max(largest, std::abs(x));
        rotate<double>(stored.config_, local, shape.factor, k);
        const std::vector<double> v = stored.row(token, 8 + head);
        for (int32_t i = 0; i < shape.head_dim; ++i) {
          const auto at = static_cast<size_t>(i);
          const double got_k = stored.kv_.key(page, 1, head, local % 16, i);
          const double got_v = stored.kv_.value(page, 1, head, local % 16, i);
          if (shape.dtype == DType::kI8) {
            ASSERT_NEAR(got_k, k[at], greatest(k) * kInt8Step);
            ASSERT_NEAR(got_v, v[at], greatest(v) * kInt8Step);
            continue;
          }
          ASSERT_NEAR(got_k, k[at], rounding * std::abs(k[at]) + 8 * 0x1p-24 * 2 * largest);
          ASSERT_EQ(got_v, shape.dtype == DType::kBF16
                               ? double{bf16_to_f32(f32_to_bf16(static_cast<float>(v[at])))}
                               : v[at]);
        }
      }
    }
  }
}

TEST_P(RopeTest, NormsQueriesInPlaceAndTouchesNothingElse) {
  for (const RopeShape& shape : kShapes) {
    const Stored stored(GetParam(), shape, 1);
    for (int32_t token = 0; token < kRows; ++token) {
      for (int32_t head = 0; head < 6; ++head) {
        std::vector<double> q = stored.row(token, head);
        if (shape.norm) q = rms_norm_reference(q, stored.q_norm_, 1e-6f);
        for (int32_t i = 0; i < shape.head_dim; ++i) {
          const float got =
              stored.qkv_[static_cast<size_t>(token * stored.cols_ + head * shape.head_dim + i)];
          if (shape.norm) {
            ASSERT_LT(ulps(got, q[static_cast<size_t>(i)]), 16);
          } else {
            ASSERT_EQ(got, q[static_cast<size_t>(i)]);
          }
        }
      }
    }
    // Other slots of the pages, other pages and the other layer are as they were.
    const auto untouched = [&](PageId page, int32_t layer, int32_t slot) {
      return std::isnan(stored.kv_.key(page, layer, 0, slot, 0)) &&
             std::isnan(stored.kv_.value(page, layer, 0, slot, 0));
    };
    for (int32_t slot = 0; slot < 16; ++slot) {
      ASSERT_EQ(untouched(5, 1, slot), slot < kBegin);
      ASSERT_EQ(untouched(2, 1, slot), slot >= (kBegin + kRows) % 16);
      ASSERT_TRUE(untouched(5, 0, slot));
      ASSERT_TRUE(untouched(3, 1, slot));
    }
  }
}

TEST_P(RopeTest, HasTheSameBitsForEveryNumberOfThreads) {
  for (const RopeShape& shape : kShapes) {
    const Stored one(GetParam(), shape, 1);
    const Stored three(GetParam(), shape, 3);
    ASSERT_EQ(std::memcmp(one.kv_.k(0, 0, 0), three.kv_.k(0, 0, 0), one.kv_.page_bytes() * 9), 0);
    ASSERT_TRUE(same_bits(one.qkv_, three.qkv_));
  }
}

TEST(RopeTableTest, HoldsRoundedFloat64) {
  const AttentionConfig config = attention_config(1, 1, 128, 128);
  RopeTable table(config.inv_freq, 1.25);
  table.ensure(300);
  const float* first = table.row(7);
  table.ensure(100001);
  EXPECT_EQ(first, table.row(7)) << "growing must not move rows";
  for (int32_t position : {0, 1, 7, 255, 256, 1000, 99999, 100000}) {
    for (int32_t i = 0; i < 64; ++i) {
      const double angle = position * config.inv_freq[static_cast<size_t>(i)];
      ASSERT_EQ(table.row(position)[i], static_cast<float>(std::cos(angle) * 1.25));
      ASSERT_EQ(table.row(position)[64 + i], static_cast<float>(std::sin(angle) * 1.25));
    }
  }
}

// Rotating stored keys on gives the keys of the later positions; delta may be negative.
TEST_P(RopeTest, RopeRotateMovesKeysOnAndCopiesValues) {
  for (const RopeShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim);
    Stored stored(GetParam(), shape, 2);
    ThreadPool pool(2);
    RopeRotate op(pool, GetParam(), stored.config_);
    const int32_t length = kBegin + kRows;
    const int64_t cols = 2 * shape.head_dim;
    const int64_t stride = cols + 3;
    for (int32_t delta : {0, 1, 1000, -5}) {
      std::vector<float> k = poisoned(static_cast<size_t>(length * stride));
      std::vector<float> v = poisoned(static_cast<size_t>(length * stride));
      op.run(stored.kv_, stored.pages_, length, 1, delta,
             {k.data(), DType::kF32, length, cols, stride},
             {v.data(), DType::kF32, length, cols, stride});
      for (int32_t local = kBegin; local < length; ++local) {
        const PageId page = stored.pages_[static_cast<size_t>(local / 16)];
        for (int32_t head = 0; head < 2; ++head) {
          std::vector<double> expected;
          double largest = 0;
          for (int32_t i = 0; i < shape.head_dim; ++i) {
            expected.push_back(stored.kv_.key(page, 1, head, local % 16, i));
            largest = std::max(largest, std::abs(expected.back()));
          }
          rotate<double>(stored.config_, delta, 1, expected);
          for (int32_t i = 0; i < shape.head_dim; ++i) {
            const auto at = static_cast<size_t>(local * stride + head * shape.head_dim + i);
            ASSERT_NEAR(k[at], expected[static_cast<size_t>(i)], 4 * 0x1p-24 * 2 * largest);
            ASSERT_EQ(v[at], stored.kv_.value(page, 1, head, local % 16, i));
          }
        }
      }
      for (int32_t local = 0; local < length; ++local) {
        for (int64_t i = cols; i < stride; ++i) {
          ASSERT_TRUE(std::isnan(k[static_cast<size_t>(local * stride + i)]));
          ASSERT_TRUE(std::isnan(v[static_cast<size_t>(local * stride + i)]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace block_attention::test
