// Whatever was done to a file of int8 weights, the next load gives the same bits; and nothing about
// the folder fails a load.
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <system_error>
#include <thread>

#include "weights_cache_fixture.hpp"

namespace block_attention::test {
namespace {

namespace fs = std::filesystem;
using State = WeightsCacheReport::State;

class WeightsCacheFaultsTest : public WeightsCacheFixture {};

TEST_F(WeightsCacheFaultsTest, AnyDamageIsNoticedAndMended) {
  Loaded plain = load_plain();
  const std::string path = load_cached().report.file;
  const std::string whole = read_file(path);
  ASSERT_GT(whole.size(), 2 * kPackedSlice);
  const auto expect_mended = [&](const std::string& content, const std::string& what) {
    SCOPED_TRACE(what);
    write_file(path, content);
    Loaded loaded = load_cached();
    EXPECT_EQ(loaded.report.state, State::kWritten);
    EXPECT_NE(loaded.report.problem.find(path), std::string::npos) << loaded.report.problem;
    expect_same(plain, loaded);
    EXPECT_EQ(read_file(path), whole);
  };
  // Every byte: packed_file_test.cpp.
  for (size_t at = 0; at < whole.size(); at += at < 400 ? 37 : 79'193) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
    expect_mended(changed, "byte " + std::to_string(at));
  }
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{31}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    expect_mended(whole.substr(0, size), std::to_string(size) + " bytes");
  }
  expect_mended(whole + '\0', "a byte more");
  expect_mended(std::string(whole.size(), '\0'), "zeros");
  std::string swapped = whole;
  std::swap_ranges(swapped.end() - 2000, swapped.end() - 1000, swapped.end() - 1000);
  expect_mended(swapped, "two pieces exchanged");
  EXPECT_EQ(load_cached().report.state, State::kRead);
}

TEST_F(WeightsCacheFaultsTest, AFileOfAnotherModelIsNotRead) {
  Loaded plain = load_plain();
  const std::string path = load_cached().report.file;
  write_model_anew();
  const CachedLoad other = {.model = {.seed = 8}};
  const std::string other_path = load_cached(other).report.file;
  ASSERT_NE(path, other_path);
  fs::copy_file(other_path, path, fs::copy_options::overwrite_existing);
  write_model_anew();
  load_plain();
  Loaded loaded = load_cached();
  // The model was written at another time, so this is a third key.
  EXPECT_EQ(loaded.report.state, State::kWritten);
  fs::copy_file(other_path, loaded.report.file, fs::copy_options::overwrite_existing);
  Loaded mended = load_cached();
  EXPECT_EQ(mended.report.state, State::kWritten);
  EXPECT_NE(mended.report.problem, "");
  expect_same(plain, mended);
}

TEST_F(WeightsCacheFaultsTest, IsNotKeptIfTheModelChangesMeanwhile) {
  CachedLoad options;
  std::atomic<bool> touched{false};
  options.progress = [&](size_t, size_t) {
    if (touched.exchange(true)) return;
    fs::last_write_time(files_.path("model"),
                        fs::file_time_type::clock::now() - std::chrono::hours(2));
  };
  const Loaded loaded = load_cached(options);
  EXPECT_EQ(loaded.report.state, State::kFailed);
  EXPECT_NE(loaded.report.problem.find("changed"), std::string::npos) << loaded.report.problem;
  EXPECT_TRUE(cached_files().empty());
}

TEST_F(WeightsCacheFaultsTest, AFolderThatCannotBeUsedFailsNoLoad) {
  Loaded plain = load_plain();
  write_file(files_.path("file"), "");
  for (const std::string& folder :
       {files_.path("file"), files_.path("file/folder"), std::string("/proc/none"),
        std::string("/dev/null"), std::string(5000, 'x')}) {
    Loaded loaded = load_cached({.folder = folder});
    EXPECT_EQ(loaded.report.state, State::kFailed) << folder;
    EXPECT_NE(loaded.report.problem, "") << folder;
    expect_same(plain, loaded);
  }
  // A folder, or a pipe that nobody writes to, in place of the file.
  const std::string path = load_cached().report.file;
  const auto replace = [&](const std::function<void()>& make) {
    fs::remove_all(path);
    make();
    Loaded loaded = load_cached();
    EXPECT_NE(loaded.report.problem, "");
    expect_same(plain, loaded);
    return loaded.report.state;
  };
  EXPECT_EQ(replace([&] { fs::create_directory(path); }), State::kFailed);
  EXPECT_EQ(replace([&] { ASSERT_EQ(mkfifo(path.c_str(), 0600), 0); }), State::kWritten);
  EXPECT_EQ(load_cached().report.state, State::kRead);
}

// A limit on the size of files fails a write as a full disk does.
TEST_F(WeightsCacheFaultsTest, ADiskThatFillsUpFailsNoLoad) {
  Loaded plain = load_plain();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{100'000}, rlim_t{600'000}}) {
    const rlimit small = {bytes, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    Loaded loaded = load_cached();
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(loaded.report.state, State::kFailed) << bytes;
    EXPECT_NE(loaded.report.problem.find(loaded.report.file), std::string::npos);
    EXPECT_TRUE(cached_files().empty());
    expect_same(plain, loaded);
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(load_cached().report.state, State::kWritten);
}

TEST_F(WeightsCacheFaultsTest, WeightsThatNothingTellsFromOthersAreNotKept) {
  RandomWeights source(several_slices(), 7, DType::kBF16);
  const auto backend = make_cpu_backend(1);
  WeightsCacheReport report;
  load_cached_weights(
      several_slices(), source, *backend, cache(), [](size_t, size_t) {}, report);
  EXPECT_EQ(report.state, State::kFailed);
  EXPECT_FALSE(fs::exists(cache()));
}

TEST_F(WeightsCacheFaultsTest, MakesTheFolder) {
  const std::string folder = files_.path("a/b/c");
  EXPECT_EQ(load_cached({.folder = folder}).report.state, State::kWritten);
  EXPECT_EQ(load_cached({.folder = folder}).report.state, State::kRead);
}

TEST_F(WeightsCacheFaultsTest, RemovesWhatAKilledProcessLeft) {
  fs::create_directory(cache());
  const std::string left = files_.path("cache/other.int8.12-3") + ReplacementFile::kUnfinished;
  write_file(left, "x");
  fs::last_write_time(left, fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(load_cached().report.state, State::kWritten);
  EXPECT_EQ(cached_files().size(), 1u);
}

TEST_F(WeightsCacheFaultsTest, SeveralLoadsAtOnceLeaveOneGoodFile) {
  Loaded plain = load_plain();
  std::vector<std::thread> threads;
  std::atomic<int> failed{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        Loaded loaded = load_cached();
        if (loaded.report.state == State::kFailed || !loaded.report.problem.empty()) ++failed;
        std::error_code none;
        if (round % 2 == 0) fs::remove(loaded.report.file, none);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  load_cached();
  Loaded next = load_cached();
  EXPECT_EQ(next.report.state, State::kRead);
  expect_same(plain, next);
  EXPECT_EQ(cached_files().size(), 1u);
}

}  // namespace
}  // namespace block_attention::test
