#include "core/xxh64.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace block_attention {
namespace {

// What xxhsum of xxHash gives.
TEST(Xxh64Test, IsTheHashOfTheSpecification) {
  const auto hash = [](const std::string& text, uint64_t seed = 0) {
    return xxh64(text.data(), text.size(), seed);
  };
  EXPECT_EQ(hash(""), 0xef46db3751d8e999ull);
  EXPECT_EQ(hash("a"), 0xd24ec4f1a98c6e5bull);
  EXPECT_EQ(hash("abc"), 0x44bc2cf5ad770999ull);
  EXPECT_EQ(hash("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1ull);
}

// The specification's own generator of test data, with its results (XSUM_fillTestBuffer).
TEST(Xxh64Test, AgreesOnEveryPathThroughIt) {
  constexpr uint64_t kPrime32 = 2654435761u;
  constexpr uint64_t kPrime64 = 11400714785074694797ull;
  std::vector<unsigned char> bytes(222);
  uint64_t generator = kPrime32;
  for (unsigned char& byte : bytes) {
    byte = static_cast<unsigned char>(generator >> 56);
    generator *= kPrime64;
  }
  const auto hash = [&](size_t size, uint64_t seed) { return xxh64(bytes.data(), size, seed); };
  EXPECT_EQ(hash(0, kPrime32), 0xac75fda2929b17efull);
  EXPECT_EQ(hash(1, 0), 0xe934a84adb052768ull);
  EXPECT_EQ(hash(1, kPrime32), 0x5014607643a9b4c3ull);
  EXPECT_EQ(hash(4, 0), 0x9136a0dca57457eeull);
  EXPECT_EQ(hash(14, 0), 0x8282dcc4994e35c8ull);
  EXPECT_EQ(hash(14, kPrime32), 0xc3bd6bf63deb6df0ull);
  EXPECT_EQ(hash(222, 0), 0xb641ae8cb691c174ull);
  EXPECT_EQ(hash(222, kPrime32), 0x20cb8ab7ae10c14aull);
}

TEST(Xxh64Test, NoticesEveryBit) {
  std::vector<unsigned char> bytes(67, 0x5a);
  std::set<uint64_t> hashes = {xxh64(bytes.data(), bytes.size())};
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] = static_cast<unsigned char>(bytes[i] ^ (1 << bit));
      EXPECT_TRUE(hashes.insert(xxh64(bytes.data(), bytes.size())).second) << i << ", " << bit;
      bytes[i] = static_cast<unsigned char>(bytes[i] ^ (1 << bit));
    }
  }
}

}  // namespace
}  // namespace block_attention
