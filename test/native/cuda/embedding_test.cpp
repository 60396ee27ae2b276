#include "cuda/embedding.hpp"

#include <memory>
#include <random>
#include <string>

#include "core/error.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"
#include "linear_source.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::LinearSource;
using block_attention::test::make_linear_source;
using block_attention::test::same_bits;

class CudaEmbeddingTest : public DeviceTest {
 protected:
  std::unique_ptr<CudaLinearWeight> upload(const LinearSource& source, DType element) {
    PinnedStaging staging(device(), 1 << 16);
    return upload_linear(device(), staging, source.parts, source.bias, element);
  }
};

TEST_F(CudaEmbeddingTest, ReadsTheSourceRowsBack) {
  std::mt19937 rng(201);
  for (const DType stored : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const DType element : kHalfTypes) {
      for (const int64_t cols : {8, 136, 2056}) {
        const LinearSource source = make_linear_source(rng, stored, {75}, cols, false);
        const auto table = upload(source, element);
        std::vector<int32_t> tokens = {0, 74, 15, 16, 64, 74};
        for (int32_t i = 0; i < 75; i += 7) tokens.push_back(i);
        check_tokens(*table, tokens);
        const DeviceArray<int32_t> ids(device(), tokens);
        const auto rows = static_cast<int64_t>(tokens.size());
        const DeviceTensor out(device(), DType::kF32, rows, cols, cols + 4);
        embedding(device(), *table, ids.data(), out.view());
        std::vector<float> expected;
        for (const int32_t token : tokens) {
          for (int64_t k = 0; k < cols; ++k) {
            expected.push_back(rounded(source.at(token, k), element));
          }
        }
        ASSERT_TRUE(same_bits(out.read(), expected)) << dtype_name(stored) << " " << cols;
      }
    }
  }
}

TEST_F(CudaEmbeddingTest, BadInputIsRefused) {
  std::mt19937 rng(202);
  const auto table = upload(make_linear_source(rng, DType::kBF16, {20}, 16, false), DType::kBF16);
  for (const int32_t token : {-1, 20, 1 << 30}) {
    try {
      check_tokens(*table, {{3, token}});
      ADD_FAILURE() << token;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(std::to_string(token)), std::string::npos);
    }
  }
  const DeviceTensor out(device(), DType::kF32, 2, 16, 20);
  const DeviceTensor half(device(), DType::kBF16, 2, 16, 24);
  const DeviceArray<int32_t> ids(device(), std::vector<int32_t>{1, 2});
  const auto refused = [&](const Tensor& to) {
    try {
      embedding(device(), *table, ids.data(), to);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(out.view()));
  EXPECT_TRUE(refused(half.view()));
  EXPECT_TRUE(refused(out.view().columns(0, 8)));
  EXPECT_TRUE(refused(out.view().columns(2, 16)));
  device().synchronize();
}

}  // namespace
}  // namespace block_attention::cuda::test
