#include "core/replacement_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <utility>

#include "core/error.hpp"

namespace block_attention {
namespace {

namespace fs = std::filesystem;

// Longer than a writer takes from making its file to locking it.
constexpr std::chrono::minutes kUnlocked{1};

// A name that nobody else writes to: containers that share the folder may have equal process ids,
// hence O_EXCL, and the next number where that finds one.
std::string unfinished_name(const std::string& path) {
  static std::atomic<uint64_t> count{0};
  return path + "." + std::to_string(getpid()) + "-" + std::to_string(count++) +
         ReplacementFile::kUnfinished;
}

}  // namespace

ReplacementFile::ReplacementFile(std::string path) : path_(std::move(path)) {
  do {
    unfinished_path_ = unfinished_name(path_);
    descriptor_ = open(unfinished_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) {
    const std::string cause = std::generic_category().message(errno);
    throw Error(ErrorCode::kIo, unfinished_path_ + ": " + cause);
  }
  // For remove_abandoned(). The system lets go of it however this process ends; where there are no
  // locks nothing is ever taken for abandoned.
  flock(descriptor_, LOCK_EX | LOCK_NB);
}

ReplacementFile::~ReplacementFile() { remove(); }

void ReplacementFile::write(uint64_t offset, const void* data, uint64_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t count = pwrite(descriptor_, from, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(unfinished_path_);
    from += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
}

void ReplacementFile::put_in_place() {
  // Network file systems tell of some failures only here.
  if (close(std::exchange(descriptor_, -1)) != 0) fail(unfinished_path_);
  if (std::rename(unfinished_path_.c_str(), path_.c_str()) != 0) fail(path_);
  unfinished_path_.clear();
}

void ReplacementFile::remove_abandoned(const fs::path& folder, const std::string& extension) {
  const auto now = fs::file_time_type::clock::now();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (path.extension() != kUnfinished || path.stem().stem().extension() != extension) continue;
    std::error_code gone;  // another process may have been first
    const fs::file_time_type touched = fs::last_write_time(path, gone);
    if (gone || now - touched < kUnlocked) continue;
    const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) continue;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) fs::remove(path, gone);
    close(descriptor);
  }
}

void ReplacementFile::fail(const std::string& path) {
  const std::string message = path + ": " + std::generic_category().message(errno);
  remove();
  throw Error(ErrorCode::kIo, message);
}

void ReplacementFile::remove() noexcept {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
  if (!unfinished_path_.empty()) unlink(unfinished_path_.c_str());
  unfinished_path_.clear();
}

}  // namespace block_attention
