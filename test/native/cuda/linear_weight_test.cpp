// How weights get to the GPU: every element once, whatever the pieces in which they are read.
#include "cuda/linear_weight.hpp"

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

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
using block_attention::test::Random;

class CudaLinearWeightTest : public DeviceTest {
 protected:
  std::vector<float> values(const CudaLinearWeight& weight) {
    const auto count = static_cast<size_t>(weight.out_features() * weight.in_features());
    std::vector<uint16_t> bits(count);
    read_device(device(), bits.data(), weight.data(), count * 2);
    std::vector<float> floats;
    for (size_t i = 0; i < count; ++i) {
      floats.push_back(load_as_f32(bits.data(), weight.dtype(), i));
    }
    return floats;
  }
};

template <typename Call>
std::string code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error_code_name(error.code());
  }
  return "none";
}

TEST_F(CudaLinearWeightTest, StacksPartsInWhateverPieces) {
  const uint64_t seed = 211;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  std::mt19937 rng(211);
  for (const DType stored : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const DType element : kHalfTypes) {
      // Less than a row (it grows), a few rows, all at once.
      for (const size_t half_bytes : {16, 5000, 1 << 20}) {
        const int64_t cols = 8 * random.between(1, 40);
        const LinearSource source = make_linear_source(
            rng, stored, {random.between(1, 60), 1, random.between(1, 60)}, cols, true);
        PinnedStaging staging(device(), half_bytes);
        const auto weight = upload_linear(device(), staging, source.parts, source.bias, element);
        ASSERT_EQ(weight->out_features(), source.out_features);
        ASSERT_EQ(weight->in_features(), cols);
        ASSERT_EQ(weight->dtype(), element);
        std::vector<float> expected;
        for (int64_t row = 0; row < source.out_features; ++row) {
          for (int64_t k = 0; k < cols; ++k) {
            expected.push_back(rounded(source.at(row, k), element));
          }
        }
        ASSERT_EQ(values(*weight), expected) << dtype_name(stored) << " in " << half_bytes;
        std::vector<float> bias(source.bias.size());
        read_device(device(), bias.data(), weight->bias(), bias.size() * sizeof(float));
        ASSERT_EQ(bias, source.bias);
      }
    }
  }
}

TEST_F(CudaLinearWeightTest, ReadsEveryRowOnce) {
  std::vector<int> times(100, 0);
  const HostMatrix matrix(
      [&times](int64_t first, int64_t count, void* out) {
        for (int64_t row = first; row < first + count; ++row) ++times[static_cast<size_t>(row)];
        std::memset(out, 0, static_cast<size_t>(count) * 16 * 2);
      },
      DType::kBF16, 100, 16);
  PinnedStaging staging(device(), 7 * 16 * 2);
  const auto weight = upload_linear(device(), staging, {{matrix}}, {}, DType::kBF16);
  EXPECT_EQ(times, std::vector<int>(100, 1));
  EXPECT_EQ(weight->bias(), nullptr);
  EXPECT_EQ(weight->element_bias(), nullptr);
  EXPECT_EQ(weight->bytes(), 100u * 16 * 2);
}

TEST_F(CudaLinearWeightTest, KeepsABiasInTheElementTypeWhereThatIsExact) {
  std::mt19937 rng(212);
  LinearSource source = make_linear_source(rng, DType::kBF16, {50}, 16, true);
  PinnedStaging staging(device());
  EXPECT_EQ(
      upload_linear(device(), staging, source.parts, source.bias, DType::kBF16)->element_bias(),
      nullptr);
  source.bias = rounded(source.bias, DType::kBF16);
  const auto weight = upload_linear(device(), staging, source.parts, source.bias, DType::kBF16);
  ASSERT_NE(weight->element_bias(), nullptr);
  std::vector<uint16_t> bits(50);
  read_device(device(), bits.data(), weight->element_bias(), 100);
  for (size_t i = 0; i < 50; ++i) EXPECT_EQ(bf16_to_f32(bits[i]), source.bias[i]);
}

TEST_F(CudaLinearWeightTest, UploadsVectorsInPieces) {
  Random random(213);
  for (const size_t half_bytes : {4, 100, 1 << 16}) {
    PinnedStaging staging(device(), half_bytes);
    const std::vector<float> expected = random.normals(333);
    const auto vector = upload_vector(device(), staging, expected);
    ASSERT_EQ(vector->size(), 333);
    std::vector<float> got(333);
    read_device(device(), got.data(), vector->data(), 333 * sizeof(float));
    ASSERT_EQ(got, expected);
  }
}

TEST_F(CudaLinearWeightTest, AFailingReadLeavesTheDeviceUsable) {
  constexpr int64_t kRows = int64_t{1} << 20;  // 32 MB, of which 20 rows can be read
  const HostMatrix broken(
      [](int64_t first, int64_t count, void* out) {
        if (first >= 20) throw Error(ErrorCode::kIo, "the file ends early");
        std::memset(out, 0, static_cast<size_t>(count) * 16 * 2);
      },
      DType::kBF16, kRows, 16);
  PinnedStaging staging(device(), 5 * 16 * 2);
  // Others may use the card meanwhile, but hardly so much more of it.
  constexpr int kUploads = 50;
  const size_t free = device().free_bytes();
  for (int i = 0; i < kUploads; ++i) {
    EXPECT_EQ(code_of([&] { upload_linear(device(), staging, {{broken}}, {}, DType::kBF16); }),
              "IO");
  }
  EXPECT_GE(device().free_bytes() + kUploads / 2 * kRows * 32, free)
      << "the memory was not given back";
  std::mt19937 rng(214);
  const LinearSource good = make_linear_source(rng, DType::kBF16, {3}, 16, false);
  const auto weight = upload_linear(device(), staging, good.parts, {}, DType::kBF16);
  EXPECT_EQ(values(*weight)[17], good.at(1, 1));
}

TEST_F(CudaLinearWeightTest, BadInputIsRefused) {
  std::mt19937 rng(215);
  PinnedStaging staging(device(), 4096);
  const auto code = [&](const LinearSource& source, DType element) {
    return code_of([&] { upload_linear(device(), staging, source.parts, source.bias, element); });
  };
  const LinearSource good = make_linear_source(rng, DType::kBF16, {4}, 16, true);
  EXPECT_EQ(code(good, DType::kBF16), "none");
  EXPECT_EQ(code(good, DType::kF32), "UNSUPPORTED");
  EXPECT_EQ(code(make_linear_source(rng, DType::kBF16, {4}, 12, false), DType::kBF16),
            "UNSUPPORTED");
  LinearSource short_bias = good;
  short_bias.bias.pop_back();
  EXPECT_EQ(code(short_bias, DType::kBF16), "INVALID_ARGUMENT");
  LinearSource mixed = make_linear_source(rng, DType::kBF16, {4, 4}, 16, false);
  mixed.parts[1].dtype = DType::kF16;
  EXPECT_EQ(code(mixed, DType::kBF16), "INVALID_ARGUMENT");
}

}  // namespace
}  // namespace block_attention::cuda::test
