#include "model/packed_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/xxh64.hpp"
#include "linear_support.hpp"
#include "model/packed_weights.hpp"
#include "temporary_folder.hpp"

namespace block_attention::test {
namespace {

constexpr PackedKey kKey = {1, 2};
// One that is never in a file, one that is not this time, and those that are.
constexpr size_t kNever = 0;
constexpr size_t kLeftOut = 2;
const std::vector<size_t> kSizes = {0, 1, 5000, kPackedSlice, 2 * kPackedSlice + 1};
// Magic, hash and key.
constexpr size_t kPreamble = 32;

std::string content(size_t index) {
  std::string bytes(kSizes[index], '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 + index);
  return bytes;
}

class PackedFileTest : public ::testing::Test {
 protected:
  void write() {
    std::vector<std::string> contents;
    for (size_t i = 0; i < kSizes.size(); ++i)
      contents.push_back(i == kLeftOut ? std::string() : content(i));
    PackedFileWriter file(path_, kKey, kSizes);
    for (const std::string& bytes : contents) file.add(bytes);
    file.wait([] {});
    file.finish();
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.path("packed");
};

TEST_F(PackedFileTest, GivesBackWhatWasWritten) {
  write();
  PackedFileReader file(path_, kKey, kSizes);
  for (size_t i = 0; i < kSizes.size(); ++i) {
    ASSERT_EQ(file.holds(i), i != kNever && i != kLeftOut) << i;
    if (!file.holds(i)) continue;
    std::string bytes(kSizes[i], '\0');
    // In any order.
    for (size_t slice = (bytes.size() + kPackedSlice - 1) / kPackedSlice; slice-- > 0;) {
      const size_t offset = slice * kPackedSlice;
      file.read(i, slice, bytes.data() + offset, std::min(kPackedSlice, bytes.size() - offset));
    }
    EXPECT_EQ(bytes, content(i)) << i;
  }
  EXPECT_FALSE(file.damaged());
}

TEST_F(PackedFileTest, IsOfOneKeyAndModel) {
  write();
  const auto open = [&](const PackedKey& key, const std::vector<size_t>& sizes) {
    return error_code_of([&] { PackedFileReader file(path_, key, sizes); });
  };
  EXPECT_EQ(open(kKey, kSizes), "none");
  EXPECT_EQ(open({1, 3}, kSizes), "MODEL_FORMAT");
  for (size_t i = 0; i < kSizes.size(); ++i) {
    std::vector<size_t> sizes = kSizes;
    ++sizes[i];
    EXPECT_EQ(open(kKey, sizes), i == kLeftOut ? "none" : "MODEL_FORMAT") << i;
    sizes[i] = size_t{1} << 40;
    EXPECT_EQ(open(kKey, sizes), "MODEL_FORMAT") << i;
  }
  EXPECT_EQ(open(kKey, {}), "MODEL_FORMAT");
}

TEST_F(PackedFileTest, NoticesEveryByte) {
  write();
  const std::string whole = read_file(path_);
  std::fstream stream(path_, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](size_t at, char byte) {
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(byte).flush();
  };
  std::string out(kPackedSlice, '\0');
  const auto read_all = [&] {
    PackedFileReader file(path_, kKey, kSizes);
    for (size_t i = 0; i < kSizes.size(); ++i) {
      for (size_t begin = 0; file.holds(i) && begin < kSizes[i]; begin += kPackedSlice)
        file.read(i, begin / kPackedSlice, out.data(), std::min(kPackedSlice, kSizes[i] - begin));
    }
  };
  for (size_t at = 0; at < whole.size(); at += at < 200 ? 1 : 1009) {
    put(at, static_cast<char>(whole[at] ^ (1 << (at % 8))));
    ASSERT_EQ(error_code_of(read_all), "MODEL_FORMAT") << "byte " << at;
    put(at, whole[at]);
  }
  EXPECT_EQ(error_code_of(read_all), "none");
}

TEST_F(PackedFileTest, SaysWhichSliceWasChanged) {
  write();
  std::string bytes = read_file(path_);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(path_, bytes);
  PackedFileReader file(path_, kKey, kSizes);
  std::string out(kPackedSlice, '\0');
  file.read(4, 0, out.data(), kPackedSlice);
  EXPECT_FALSE(file.damaged());
  EXPECT_EQ(error_code_of([&] { file.read(4, 2, out.data(), 1); }), "MODEL_FORMAT");
  EXPECT_TRUE(file.damaged());
}

// Not by accident: with hashes that are right.
TEST_F(PackedFileTest, AForgedHeaderMakesNothingOutOfRange) {
  write();
  const std::string whole = read_file(path_);
  const size_t slices = 1 + 1 + 1 + 3;
  const size_t header = kPreamble + kSizes.size() + slices * sizeof(uint64_t);
  for (size_t i = 0; i < kSizes.size(); ++i) {
    std::string forged = whole;
    forged[kPreamble + i] = static_cast<char>(1 - forged[kPreamble + i]);
    const uint64_t hash = xxh64(forged.data() + 16, header - 16);
    std::memcpy(forged.data() + 8, &hash, sizeof(hash));
    write_file(path_, forged);
    if (i == kNever) {
      EXPECT_FALSE(PackedFileReader(path_, kKey, kSizes).holds(i));
    } else {
      EXPECT_EQ(error_code_of([&] { PackedFileReader file(path_, kKey, kSizes); }), "MODEL_FORMAT");
    }
  }
}

TEST_F(PackedFileTest, IsGivenUpWhereverItStands) {
  const std::string bytes = content(4);
  { PackedFileWriter file(path_, kKey, kSizes); }
  {
    PackedFileWriter file(path_, kKey, kSizes);
    for (int i = 0; i < 100; ++i) file.add(bytes);
  }
  {
    PackedFileWriter file(path_, kKey, kSizes);
    file.add(bytes);
    const auto poll = [] { throw Error(ErrorCode::kAborted, "planted"); };
    EXPECT_EQ(error_code_of([&] { file.wait(poll); }), "ABORTED");
  }
  EXPECT_TRUE(folder_.names().empty());
}

}  // namespace
}  // namespace block_attention::test
