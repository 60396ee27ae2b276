#include "cpu/copy_pages.hpp"

#include <map>
#include <numeric>

#include "support.hpp"

namespace block_attention::test {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes random_bytes(Random& random, size_t count) {
  Bytes bytes(count);
  for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random.bits());
  return bytes;
}

void fill(const CpuKvStorage& kv, PageId page, const Bytes& bytes) {
  for (int32_t layer = 0; layer < kv.shape().num_layers; ++layer) {
    std::memcpy(kv.k(page, layer, 0), bytes.data() + static_cast<size_t>(layer) * kv.layer_bytes(),
                kv.layer_bytes());
  }
}

Bytes bytes_of(const CpuKvStorage& kv, PageId page) {
  Bytes bytes;
  for (int32_t layer = 0; layer < kv.shape().num_layers; ++layer) {
    const auto* begin = static_cast<const unsigned char*>(kv.k(page, layer, 0));
    bytes.insert(bytes.end(), begin, begin + kv.layer_bytes());
  }
  return bytes;
}

TEST(CopyPagesTest, CopiesWholePagesOfEveryTypeAndTouchesNoOthers) {
  const uint64_t seed = 311;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kI8}) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      constexpr PageId kPages = 2 * CpuKvStorage::kRunPages + 23;
      CpuKvStorage kv({3, 2, 24, dtype}, kPages);
      std::map<PageId, Bytes> expected;
      for (PageId page = 0; page < kPages; ++page) {
        expected[page] = random_bytes(random, kv.page_bytes());
        fill(kv, page, expected[page]);
      }
      // Two copies of one page are copies of a page that is not copied to.
      std::vector<PageCopy> copies;
      for (PageId to = kPages / 2; to < kPages - 3; ++to) {
        copies.push_back({static_cast<PageId>(random.between(0, kPages / 2 - 1)), to, 16});
        expected[to] = expected[copies.back().from];
      }
      copy_pages(pool, copies, kv);
      copy_pages(pool, {}, kv);
      for (PageId page = 0; page < kPages; ++page) {
        ASSERT_EQ(bytes_of(kv, page), expected[page]) << dtype_name(dtype) << " page " << page;
      }
    }
  }
}

TEST(CopyPagesTest, CopiesWhatAttentionReadsOfTheTokens) {
  Random random(312);
  ThreadPool pool(2);
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kI8}) {
    const KvShape shape = {2, 3, 16, dtype};
    CpuKvStorage kv(shape, 4);
    for (PageId page = 0; page < 4; ++page) {
      const Bytes bytes = random_bytes(random, kv.page_bytes());
      fill(kv, page, bytes);
    }
    constexpr int32_t kTokens = 5;
    copy_pages(pool, std::vector<PageCopy>{{3, 1, kTokens}}, kv);
    const auto same = [](float a, float b) {
      return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
      for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
        for (int32_t slot = 0; slot < kTokens; ++slot) {
          for (int32_t dim = 0; dim < shape.head_dim; ++dim) {
            ASSERT_TRUE(same(kv.key(1, layer, head, slot, dim), kv.key(3, layer, head, slot, dim)));
            ASSERT_TRUE(
                same(kv.value(1, layer, head, slot, dim), kv.value(3, layer, head, slot, dim)));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace block_attention::test
