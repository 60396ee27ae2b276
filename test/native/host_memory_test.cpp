#include "cpu/host_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/error.hpp"

namespace block_attention::test {
namespace {

TEST(WeightMemoryTest, IsZeroAlignedAndApart) {
  std::vector<Buffer> blocks;
  for (size_t bytes : {size_t{1}, size_t{100}, size_t{5} << 20, size_t{70} << 20, size_t{63}}) {
    blocks.push_back(allocate_weight_memory(bytes));
    char* data = static_cast<char*>(blocks.back().data());
    ASSERT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    ASSERT_TRUE(std::all_of(data, data + bytes, [](char byte) { return byte == 0; })) << bytes;
    std::fill_n(data, bytes, static_cast<char>(blocks.size()));
  }
  // The neighbours of what is given back stay as they are.
  blocks[2] = {};
  for (size_t i = 0; i < blocks.size(); ++i) {
    const char* data = static_cast<const char*>(blocks[i].data());
    ASSERT_TRUE(std::all_of(data, data + blocks[i].bytes(),
                            [&](char byte) { return byte == static_cast<char>(i + 1); }));
  }
}

TEST(WeightMemoryTest, GoesOnAfterThereWasNoRoom) {
  std::vector<Buffer> blocks;
  blocks.push_back(allocate_weight_memory(1 << 20));
  try {
    allocate_weight_memory(size_t{1} << 60);
    FAIL() << "the system granted more than there is";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
  }
  // More than the region that was there before has room for.
  constexpr size_t kBytes = size_t{20} << 20;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(allocate_weight_memory(kBytes));
    char* data = static_cast<char*>(blocks.back().data());
    data[0] = data[kBytes - 1] = 1;
  }
}

}  // namespace
}  // namespace block_attention::test
