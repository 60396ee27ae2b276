#include "core/replacement_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>

#include "core/error.hpp"
#include "linear_support.hpp"
#include "temporary_folder.hpp"

namespace block_attention::test {
namespace {

TEST(ReplacementFileTest, IsThereWithAllOfItOrNotAtAll) {
  TemporaryFolder folder;
  const std::string path = folder.path("file");
  {
    ReplacementFile file(path);
    file.write(3, "def", 3);
    EXPECT_FALSE(std::filesystem::exists(path));
    file.write(0, "abc", 3);
    file.put_in_place();
  }
  EXPECT_EQ(read_file(path), "abcdef");
  {
    ReplacementFile file(path);
    file.write(0, "other", 5);
    EXPECT_EQ(read_file(path), "abcdef");
    file.put_in_place();
    EXPECT_EQ(read_file(path), "other");
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(ReplacementFileTest, LeavesNothingIfItIsGivenUp) {
  TemporaryFolder folder;
  {
    ReplacementFile file(folder.path("file"));
    file.write(0, "abc", 3);
    ASSERT_EQ(folder.names().size(), 1u);
    EXPECT_TRUE(folder.names().front().ends_with(ReplacementFile::kUnfinished));
  }
  EXPECT_TRUE(folder.names().empty());
}

TEST(ReplacementFileTest, TheLastOfTwoWins) {
  TemporaryFolder folder;
  ReplacementFile first(folder.path("file"));
  ReplacementFile second(folder.path("file"));
  second.write(0, "second", 6);
  first.write(0, "first", 5);
  second.put_in_place();
  first.put_in_place();
  EXPECT_EQ(read_file(folder.path("file")), "first");
  EXPECT_EQ(folder.names().size(), 1u);
}

TEST(ReplacementFileTest, SaysWhereThereCanBeNone) {
  TemporaryFolder folder;
  write_file(folder.path("file"), "");
  for (const std::string& path : {folder.path("missing/file"), folder.path("file/file")}) {
    EXPECT_EQ(error_code_of([&] { ReplacementFile file(path); }), "IO");
  }
  std::filesystem::create_directory(folder.path("folder"));
  ReplacementFile file(folder.path("folder"));
  EXPECT_EQ(error_code_of([&] { file.put_in_place(); }), "IO");
  EXPECT_EQ(folder.names().size(), 2u);
}

TEST(ReplacementFileTest, WhatAKilledWriterLeftIsRemoved) {
  TemporaryFolder folder;
  const auto make = [&](const std::string& name, bool old) {
    const std::string path = folder.path(name);
    if (!std::filesystem::exists(path)) write_file(path, "x");
    const auto now = std::filesystem::file_time_type::clock::now();
    if (old) std::filesystem::last_write_time(path, now - std::chrono::hours(1));
  };
  ReplacementFile written(folder.path("written.int8"));
  make(folder.names().front(), true);
  make("left.int8.12-3.unfinished", true);
  make("young.int8.12-3.unfinished", false);
  make("notes.unfinished", true);
  make("other.txt.12-3.unfinished", true);
  make("whole.int8", true);
  std::filesystem::create_directory(folder.path("folder.int8.12-3.unfinished"));
  make("folder.int8.12-3.unfinished", true);
  const size_t before = folder.names().size();
  ReplacementFile::remove_abandoned(folder.path(), ".int8");
  EXPECT_EQ(folder.names().size(), before - 1);
  EXPECT_FALSE(std::filesystem::exists(folder.path("left.int8.12-3.unfinished")));
  written.put_in_place();
  EXPECT_TRUE(std::filesystem::exists(folder.path("written.int8")));
}

// A limit on the size of files fails a write as a full disk does.
TEST(ReplacementFileTest, GivesTheRoomBackAtOnceWhereThereIsTooLittle) {
  TemporaryFolder folder;
  ReplacementFile file(folder.path("file"));
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string code = error_code_of([&] {
    const std::string content(5000, 'x');
    file.write(0, content.data(), content.size());
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(code, "IO");
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace block_attention::test
