#include "core/weight_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "core/error.hpp"
#include "support.hpp"
#include "temporary_folder.hpp"

namespace block_attention::test {
namespace {

class WeightFileTest : public ::testing::Test {
 protected:
  std::string path(const char* name) const { return folder_.path(name); }

  // Byte i is i % 251.
  std::string write(const char* name, size_t bytes) const {
    std::string content(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) content[i] = static_cast<char>(i % 251);
    write_file(path(name), content);
    return path(name);
  }

  TemporaryFolder folder_;
};

// Calls `body`, which has to throw an Error, and returns it.
template <typename Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kInternal, "");
}

void expect_names(const Error& error, ErrorCode code, const std::string& path) {
  EXPECT_EQ(error.code(), code) << error.what();
  EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
}

TEST_F(WeightFileTest, ReadsAnyRange) {
  const WeightFile file(write("model", 100000));
  EXPECT_EQ(file.size(), 100000u);
  EXPECT_EQ(file.path(), path("model"));
  for (uint64_t offset : {0u, 1u, 4095u, 4097u, 99999u}) {
    for (uint64_t bytes : {0u, 1u, 7u, 4096u, 100000u}) {
      if (offset + bytes > file.size()) continue;
      std::vector<unsigned char> out(bytes + 1, 0xee);
      file.read(offset, out.data(), bytes);
      for (uint64_t i = 0; i < bytes; ++i) ASSERT_EQ(out[i], (offset + i) % 251);
      ASSERT_EQ(out[bytes], 0xee) << "wrote behind the end";
    }
  }
}

TEST_F(WeightFileTest, SaysWhenItWasChanged) {
  const WeightFile file(write("model", 10));
  const int64_t before = file.modified_ns();
  const timespec times[2] = {{0, UTIME_OMIT}, {1'700'000'000, 123'456'789}};
  ASSERT_EQ(utimensat(AT_FDCWD, path("model").c_str(), times, 0), 0);
  EXPECT_NE(file.modified_ns(), before);
  EXPECT_EQ(file.modified_ns(), 1'700'000'000'123'456'789);
}

TEST_F(WeightFileTest, RefusesRangesPastTheEnd) {
  const WeightFile file(write("model", 1000));
  char out[64];
  expect_names(error_of([&] { file.read(990, out, 11); }), ErrorCode::kModelFormat, path("model"));
  expect_names(error_of([&] { file.read(1000, out, 1); }), ErrorCode::kModelFormat, path("model"));
  expect_names(error_of([&] { file.read(5000, out, 64); }), ErrorCode::kModelFormat, path("model"));
  file.read(1000, out, 0);
}

TEST_F(WeightFileTest, AFileThatShrinksIsAnError) {
  const WeightFile file(write("model", 100000));
  std::filesystem::resize_file(path("model"), 500);
  std::vector<char> out(1000);
  file.read(0, out.data(), 500);
  expect_names(error_of([&] { file.read(0, out.data(), 501); }), ErrorCode::kModelFormat,
               path("model"));
  EXPECT_EQ(file.size(), 100000u);
}

TEST_F(WeightFileTest, RefusesWhatIsNoRegularFile) {
  expect_names(error_of([&] { WeightFile file(path("missing")); }), ErrorCode::kIo,
               path("missing"));
  expect_names(error_of([&] { WeightFile file(folder_.path().string()); }), ErrorCode::kIo,
               folder_.path().string());
  expect_names(error_of([] { WeightFile file("/dev/null"); }), ErrorCode::kIo, "/dev/null");
  expect_names(error_of([] { WeightFile file(""); }), ErrorCode::kIo, "");
  // Nobody ever writes to this pipe: opening it must not wait for that.
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  expect_names(error_of([&] { WeightFile file(path("pipe")); }), ErrorCode::kIo, path("pipe"));
}

TEST_F(WeightFileTest, AnUnreadableFileIsAnError) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads everything";
  write("model", 10);
  ASSERT_EQ(chmod(path("model").c_str(), 0), 0);
  expect_names(error_of([&] { WeightFile file(path("model")); }), ErrorCode::kIo, path("model"));
}

TEST_F(WeightFileTest, AnEmptyFileHasNothing) {
  const WeightFile file(write("model", 0));
  EXPECT_EQ(file.size(), 0u);
  char out;
  expect_names(error_of([&] { file.read(0, &out, 1); }), ErrorCode::kModelFormat, path("model"));
}

TEST_F(WeightFileTest, FollowsLinksAsHuggingFaceCachesHaveThem) {
  write("blob", 100);
  std::filesystem::create_symlink("blob", path("model"));
  const WeightFile file(path("model"));
  unsigned char out = 0;
  file.read(42, &out, 1);
  EXPECT_EQ(out, 42);
}

TEST_F(WeightFileTest, MovesAndClosesItsDescriptorOnce) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const std::string name = write("model", 100);
  const auto before = descriptors();
  {
    std::vector<WeightFile> files;
    for (int i = 0; i < 10; ++i) files.emplace_back(name);  // moves them as it grows
    EXPECT_EQ(descriptors(), before + 10);
    for (const WeightFile& file : files) {
      unsigned char out = 0;
      file.read(7, &out, 1);
      EXPECT_EQ(out, 7);
    }
    error_of([&] { WeightFile file(folder_.path().string()); });
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_F(WeightFileTest, ThreadsReadAtTheSameTime) {
  const WeightFile file(write("model", 1 << 20));
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<unsigned char> out(1000);
      for (uint64_t i = 0; i < 200; ++i) {
        const uint64_t offset = (t * 7919 + i * 5003) % ((1 << 20) - 1000);
        file.read(offset, out.data(), 1000);
        if (out[0] != offset % 251 || out[999] != (offset + 999) % 251) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace block_attention::test
