#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "attention_cases.hpp"
#include "core/error.hpp"
#include "cuda/attention.hpp"
#include "cuda/linear_weight.hpp"
#include "cuda/rope_table.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"
#include "rms_norm_reference.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::attention_config;
using block_attention::test::Random;
using block_attention::test::rms_norm_reference;
using block_attention::test::rotate;
using block_attention::test::same_bits;

constexpr int32_t kHeads = 6;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kPool = 9;
// Tokens 13 .. 13 + 41 of a block: slots and pages are crossed.
constexpr int32_t kBegin = 13;
constexpr int32_t kRows = 41;
constexpr float kEps = 1e-6f;

struct RopeShape {
  int32_t head_dim;
  int32_t rotary_dim;
  DType dtype;
  bool norm;
  double factor;
};

const RopeShape kShapes[] = {
    {64, 64, DType::kF16, false, 1},   {128, 128, DType::kBF16, false, 1},
    {48, 48, DType::kF16, true, 1.1},  {80, 20, DType::kBF16, true, 1},
    {256, 64, DType::kF16, true, 1.2}, {16, 2, DType::kBF16, false, 1},
};

double largest(const std::vector<double>& x) {
  double most = 0;
  for (double value : x) most = std::max(most, std::abs(value));
  return most;
}

// One block of tokens, stored in layer 1 of 2 of a pool of poison, in `chunks` steps.
class Stored {
 public:
  Stored(Device& device, const RopeShape& shape, std::vector<int32_t> chunks)
      : device_(device),
        shape_(shape),
        config_(attention_config(kKvHeads, kHeads / kKvHeads, shape.head_dim, shape.rotary_dim,
                                 shape.factor)),
        arena_(device),
        attention_(device, arena_, config_),
        kv_(device, {2, kKvHeads, shape.head_dim, shape.dtype}, kPool) {
    const std::vector<unsigned char> poison(kv_.page_bytes() * kPool, 0xff);
    write_device(device, kv_.view().data, poison.data(), poison.size());
    Random random(31);
    cols_ = (kHeads + 2 * kKvHeads) * shape.head_dim;
    before_ = rounded(random.normals(static_cast<size_t>(kRows) * cols_), shape.dtype);
    q_norm_ = random.normals(static_cast<size_t>(shape.head_dim));
    k_norm_ = random.normals(static_cast<size_t>(shape.head_dim));
    PinnedStaging staging(device, 4096);
    const auto q_norm = upload_vector(device, staging, q_norm_);
    const auto k_norm = upload_vector(device, staging, k_norm_);
    const QkNorm norm = shape.norm ? QkNorm{q_norm.get(), k_norm.get(), kEps} : QkNorm{};
    int32_t done = 0;
    for (const int32_t rows : chunks) {
      const DeviceTensor qkv(
          device, shape.dtype, rows, cols_, cols_ + 8,
          {before_.begin() + done * cols_, before_.begin() + (done + rows) * cols_});
      const StepSegment segment = {pages_, kBegin + done + rows, kBegin + done};
      const StepSequence sequence = {0, rows, kBegin + done, {&segment, 1}};
      const std::vector<int32_t> tokens(static_cast<size_t>(rows));
      attention_.plan({tokens, {&sequence, 1}}, plan_);
      attention_.rope_store(qkv.view(), plan_, norm, 1, kv_);
      const std::vector<float> after = qkv.read();
      after_.insert(after_.end(), after.begin(), after.end());
      arena_.reset();
      done += rows;
    }
    pool_.resize(poison.size());
    read_device(device, pool_.data(), kv_.view().data, pool_.size());
  }

  // What the head of a row was before.
  std::vector<double> row(int32_t token, int32_t head) const {
    const auto at = before_.begin() + int64_t{token} * cols_ + int64_t{head} * shape_.head_dim;
    return {at, at + shape_.head_dim};
  }
  double element(const char* part, int32_t slot, int32_t dim) const {
    return load_as_f32(pool_.data() + (part - kv_.view().data), shape_.dtype,
                       static_cast<size_t>(slot * shape_.head_dim + dim));
  }
  double k_at(int32_t local, int32_t head, int32_t dim) const {
    return element(kv_.view().k(page_of(local), 1, head), local % 16, dim);
  }
  double v_at(int32_t local, int32_t head, int32_t dim) const {
    return element(kv_.view().v(page_of(local), 1, head), local % 16, dim);
  }
  PageId page_of(int32_t local) const { return pages_[static_cast<size_t>(local / 16)]; }

  Device& device_;
  RopeShape shape_;
  AttentionConfig config_;
  StepArena arena_;
  CudaAttention attention_;
  CudaAttentionPlan plan_;
  CudaKvStorage kv_;
  std::vector<PageId> pages_ = {5, 0, 7, 2};
  int64_t cols_ = 0;
  std::vector<float> before_;
  std::vector<float> after_;
  std::vector<float> q_norm_;
  std::vector<float> k_norm_;
  std::vector<unsigned char> pool_;
};

class CudaRopeTest : public DeviceTest {};

TEST_F(CudaRopeTest, StoresNormedRotatedKeysAndPlainValues) {
  for (const RopeShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim << ", rotary "
                                    << shape.rotary_dim << ", " << dtype_name(shape.dtype));
    const Stored stored(device(), shape, {kRows});
    for (int32_t token = 0; token < kRows; ++token) {
      const int32_t local = kBegin + token;
      for (int32_t head = 0; head < kKvHeads; ++head) {
        std::vector<double> k = stored.row(token, kHeads + head);
        if (shape.norm) k = rms_norm_reference(k, stored.k_norm_, kEps);
        // The roundings of norm and RoPE in float32 are relative to the pair that is rotated.
        const double floats = 8 * 0x1p-24 * 2 * largest(k);
        rotate<double>(stored.config_, local, shape.factor, k);
        const std::vector<double> v = stored.row(token, kHeads + kKvHeads + head);
        for (int32_t i = 0; i < shape.head_dim; ++i) {
          const auto at = static_cast<size_t>(i);
          ASSERT_LE(std::abs(stored.k_at(local, head, i) - k[at]),
                    allowed_error(k[at], shape.dtype, 0) + floats);
          ASSERT_EQ(stored.v_at(local, head, i), v[at]);
        }
      }
    }
  }
}

TEST_F(CudaRopeTest, NormsQueriesInPlaceAndTouchesNothingElse) {
  for (const RopeShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim);
    const Stored stored(device(), shape, {kRows});
    for (int32_t token = 0; token < kRows; ++token) {
      for (int32_t head = 0; head < kHeads + 2 * kKvHeads; ++head) {
        std::vector<double> x = stored.row(token, head);
        const bool changes = shape.norm && head < kHeads;
        if (changes) x = rms_norm_reference(x, stored.q_norm_, kEps);
        for (int32_t i = 0; i < shape.head_dim; ++i) {
          const double got =
              stored.after_[static_cast<size_t>(token * stored.cols_ + head * shape.head_dim + i)];
          const double want = x[static_cast<size_t>(i)];
          ASSERT_LE(std::abs(got - want), changes ? allowed_error(want, shape.dtype, 16) : 0);
        }
      }
    }
    // Other slots of the pages, other pages and the other layer are as they were.
    const KvView view = stored.kv_.view();
    const auto untouched = [&](PageId page, int32_t layer, int32_t slot) {
      for (int32_t head = 0; head < kKvHeads; ++head) {
        if (!std::isnan(stored.element(view.k(page, layer, head), slot, 0))) return false;
        if (!std::isnan(stored.element(view.v(page, layer, head), slot, 0))) return false;
      }
      return true;
    };
    for (int32_t slot = 0; slot < 16; ++slot) {
      ASSERT_EQ(untouched(5, 1, slot), slot < kBegin);
      ASSERT_EQ(untouched(2, 1, slot), slot >= (kBegin + kRows) % 16);
      ASSERT_TRUE(untouched(5, 0, slot));
      ASSERT_TRUE(untouched(3, 1, slot));
    }
  }
}

TEST_F(CudaRopeTest, HasTheSameBitsInChunks) {
  for (const RopeShape& shape : kShapes) {
    const Stored whole(device(), shape, {kRows});
    const Stored chunks(device(), shape, {1, 20, 3, 17});
    ASSERT_EQ(whole.pool_, chunks.pool_) << "head_dim " << shape.head_dim;
    ASSERT_TRUE(same_bits(whole.after_, chunks.after_));
  }
}

TEST_F(CudaRopeTest, TheTableHoldsRoundedFloat64) {
  const AttentionConfig config = attention_config(1, 1, 32, 32);
  CudaRopeTable table(device(), config.inv_freq, 1.25);
  for (const int64_t positions : {2, 300, 1025, 5000}) {
    table.ensure(positions);
    std::vector<float> rows(static_cast<size_t>(positions) * 32);
    read_device(device(), rows.data(), table.data(), rows.size() * sizeof(float));
    for (const int64_t position : {int64_t{0}, int64_t{1}, positions / 2, positions - 1}) {
      for (int32_t i = 0; i < 16; ++i) {
        const double angle =
            static_cast<double>(position) * config.inv_freq[static_cast<size_t>(i)];
        const auto at = static_cast<size_t>(position * 32 + i);
        ASSERT_EQ(rows[at], static_cast<float>(std::cos(angle) * 1.25)) << position;
        ASSERT_EQ(rows[at + 16], static_cast<float>(std::sin(angle) * 1.25)) << position;
      }
    }
  }
}

// Rotating stored keys on gives the keys of the later positions; delta may be negative.
TEST_F(CudaRopeTest, RopeRotateMovesKeysOnAndCopiesValues) {
  for (const RopeShape& shape : kShapes) {
    SCOPED_TRACE(testing::Message() << "head_dim " << shape.head_dim);
    Stored stored(device(), shape, {kRows});
    constexpr int32_t kLength = kBegin + kRows;
    const int64_t cols = int64_t{kKvHeads} * shape.head_dim;
    for (const int32_t delta : {0, 1, 1000, -5}) {
      const DeviceTensor out_k(device(), DType::kF32, kLength, cols, cols + 3);
      const DeviceTensor out_v(device(), DType::kF32, kLength, cols, cols + 1);
      stored.attention_.rope_rotate(stored.kv_, stored.pages_, kLength, 1, delta, out_k.view(),
                                    out_v.view());
      const std::vector<float> k = out_k.read();
      const std::vector<float> v = out_v.read();
      stored.arena_.reset();
      for (int32_t local = kBegin; local < kLength; ++local) {
        for (int32_t head = 0; head < kKvHeads; ++head) {
          std::vector<double> expected;
          for (int32_t i = 0; i < shape.head_dim; ++i) {
            expected.push_back(stored.k_at(local, head, i));
          }
          const double floats = 4 * 0x1p-24 * 2 * largest(expected);
          rotate<double>(stored.config_, delta, 1, expected);
          for (int32_t i = 0; i < shape.head_dim; ++i) {
            const auto at = static_cast<size_t>(local * cols + head * shape.head_dim + i);
            ASSERT_LE(std::abs(double{k[at]} - expected[static_cast<size_t>(i)]), floats);
            ASSERT_EQ(double{v[at]}, stored.v_at(local, head, i));
          }
        }
      }
    }
  }
}

TEST_F(CudaRopeTest, RefusesViewsThatDoNotFit) {
  Stored stored(device(), kShapes[0], {kRows});
  const int64_t cols = int64_t{kKvHeads} * kShapes[0].head_dim;
  const DeviceTensor out(device(), DType::kF32, 20, cols, cols);
  const DeviceTensor half(device(), DType::kF16, 20, cols, cols);
  const auto refused = [&](int32_t length, int32_t layer, const Tensor& k, const Tensor& v) {
    try {
      stored.attention_.rope_rotate(stored.kv_, stored.pages_, length, layer, 0, k, v);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(20, 1, out.view(), out.view()));
  EXPECT_TRUE(refused(19, 1, out.view(), out.view()));
  EXPECT_TRUE(refused(20, 2, out.view(), out.view()));
  EXPECT_TRUE(refused(20, 1, half.view(), out.view()));
  EXPECT_TRUE(refused(20, 1, out.view(), out.view().columns(0, 64)));
  EXPECT_TRUE(refused(20, 1, out.view(), out.view().row_range(0, 19)));
  const DeviceTensor many(device(), DType::kF32, 65, cols, cols);
  EXPECT_TRUE(refused(65, 1, many.view(), many.view())) << "more keys than pages";
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
