#include "cpu/kv_storage.hpp"

#include <cstdio>

#include "core/error.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

int64_t resident_bytes() {
  long pages = 0;
  long resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return -1;
  const int read = std::fscanf(file, "%ld %ld", &pages, &resident);
  std::fclose(file);
  return read == 2 ? int64_t{resident} * 4096 : -1;
}

TEST(KvStorageTest, EveryPartOfAPageHasItsOwnMemory) {
  const KvShape shape = {3, 2, 24, DType::kBF16};
  // Whole runs, and part of one.
  constexpr PageId kPages = 2 * CpuKvStorage::kRunPages + 4;
  CpuKvStorage kv(shape, kPages);
  const size_t part = 24 * 16 * 2;
  EXPECT_EQ(kv.page_bytes(), part * 2 * 3 * 2);
  EXPECT_EQ(CpuKvStorage::bytes_per_page(shape), kv.page_bytes());
  EXPECT_EQ(kv.layer_bytes() * 3, kv.page_bytes());
  EXPECT_EQ(kv.pages(), kPages);
  unsigned char value = 1;
  for (PageId page = 0; page < kPages; ++page) {
    for (int32_t layer = 0; layer < 3; ++layer) {
      for (int32_t head = 0; head < 2; ++head) {
        std::memset(kv.k(page, layer, head), value++, part);
        std::memset(kv.v(page, layer, head), value++, part);
      }
    }
  }
  unsigned char expected = 1;
  const auto* first = static_cast<const unsigned char*>(kv.k(0, 0, 0));
  for (PageId page = 0; page < kPages; ++page) {
    for (int32_t layer = 0; layer < 3; ++layer) {
      for (int32_t head = 0; head < 2; ++head) {
        for (void* at : {kv.k(page, layer, head), kv.v(page, layer, head)}) {
          const auto* bytes = static_cast<const unsigned char*>(at);
          ASSERT_TRUE(bytes >= first && bytes + part <= first + kPages * kv.page_bytes());
          ASSERT_EQ(reinterpret_cast<uintptr_t>(at) % 64, 0u);
          for (size_t i = 0; i < part; ++i) ASSERT_EQ(bytes[i], expected);
          ++expected;
        }
      }
    }
  }
}

TEST(KvStorageTest, UntouchedPagesCostNoMemory) {
  const int64_t before = resident_bytes();
  if (before < 0) GTEST_SKIP() << "no /proc/self/statm";
  const KvShape shape = {16, 8, 64, DType::kBF16};
  const auto pages =
      static_cast<int32_t>((int64_t{256} << 20) / CpuKvStorage::bytes_per_page(shape));
  CpuKvStorage kv(shape, pages);
  for (int32_t layer = 0; layer < shape.num_layers; ++layer)
    std::memset(kv.k(pages / 2, layer, 0), 1, kv.layer_bytes());
  EXPECT_LT(resident_bytes() - before, int64_t{32} << 20);
}

TEST(KvStorageTest, RefusesWhatItCannotHold) {
  const auto code = [](const KvShape& shape, int32_t pages) {
    try {
      CpuKvStorage kv(shape, pages);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code({1, 1, 64, DType::kF16}, 1), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({0, 1, 64, DType::kBF16}, 1), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code({128, 128, 256, DType::kF32}, 2147483647), ErrorCode::kOutOfMemory);
}

}  // namespace
}  // namespace block_attention::test
