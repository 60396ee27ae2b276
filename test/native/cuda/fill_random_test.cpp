#include "cuda/fill_random.hpp"

#include <vector>

#include "core/error.hpp"
#include "core/random.hpp"
#include "cuda/linear_weight.hpp"
#include "device_array.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

constexpr RandomValues kValues{77, 0.05f};

std::vector<uint16_t> on_host(DType dtype, size_t count) {
  std::vector<uint16_t> values(count);
  block_attention::fill_random(dtype, kValues.scale, kValues.seed, 0, count, values.data());
  return values;
}

class CudaFillRandomTest : public DeviceTest {};

TEST_F(CudaFillRandomTest, GivesTheBitsOfTheHost) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const size_t count : {8, 256, 2048 + 8, 5000 * 8}) {
      const DeviceArray<uint16_t> values(device(), count);
      fill_random(device(), kValues, dtype, values.data(), static_cast<int64_t>(count));
      EXPECT_EQ(values.read(), on_host(dtype, count)) << dtype_name(dtype) << " " << count;
    }
  }
}

TEST_F(CudaFillRandomTest, MakesTheMatrixThatReadingWouldGive) {
  constexpr int64_t kRows = 5;
  constexpr int64_t kCols = 24;
  int reads = 0;
  const auto matrix = [&](DType dtype) {
    const auto read = [&reads, dtype](int64_t first, int64_t count, void* out) {
      ++reads;
      block_attention::fill_random(dtype, kValues.scale, kValues.seed,
                                   static_cast<uint64_t>(first * kCols),
                                   static_cast<size_t>(count * kCols), out);
    };
    HostMatrix host(read, dtype, kRows, kCols);
    host.random = kValues;
    return host;
  };
  PinnedStaging staging(device());
  // What is stored in another type is read and rounded; the same type is made on the device.
  for (const DType stored : {DType::kF32, DType::kBF16}) {
    const HostMatrix parts[] = {matrix(stored)};
    const auto weight = upload_linear(device(), staging, parts, {}, DType::kBF16);
    std::vector<uint16_t> bits(kRows * kCols);
    read_device(device(), bits.data(), weight->data(), bits.size() * sizeof(uint16_t));
    EXPECT_EQ(bits, on_host(DType::kBF16, bits.size())) << dtype_name(stored);
    EXPECT_EQ(reads, 1);
  }
}

TEST_F(CudaFillRandomTest, BadInputIsRefused) {
  const DeviceArray<uint16_t> values(device(), 16);
  EXPECT_THROW(fill_random(device(), kValues, DType::kF32, values.data(), 8), Error);
  EXPECT_THROW(fill_random(device(), kValues, DType::kBF16, values.data(), 9), Error);
}

}  // namespace
}  // namespace block_attention::cuda::test
