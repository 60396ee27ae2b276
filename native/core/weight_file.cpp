#include "core/weight_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.hpp"

namespace block_attention {
namespace {

[[noreturn]] void fail(const std::string& path, int error) {
  throw Error(ErrorCode::kIo, path + ": " + std::generic_category().message(error));
}

}  // namespace

WeightFile::WeightFile(std::string path) : path_(std::move(path)) {
  // Non-blocking: opening a pipe in place of the file would otherwise wait for a writer.
  descriptor_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail(path_, errno);
  struct stat status;
  const bool known = fstat(descriptor_, &status) == 0;
  const int error = errno;
  if (!known || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    if (!known) fail(path_, error);
    throw Error(ErrorCode::kIo, path_ + " is not a regular file");
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

WeightFile::WeightFile(WeightFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_) {}

WeightFile::~WeightFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

int64_t WeightFile::modified_ns() const {
  struct stat status;
  if (fstat(descriptor_, &status) != 0) fail(path_, errno);
  return int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

void WeightFile::read(uint64_t offset, void* out, uint64_t bytes) const {
  char* to = static_cast<char*>(out);
  while (bytes > 0) {
    const ssize_t count = pread(descriptor_, to, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, errno);
    if (count == 0) {
      throw Error(ErrorCode::kModelFormat, path_ + " ends before byte " +
                                               std::to_string(offset + bytes) +
                                               ": it was cut off, or has shrunk while it was read");
    }
    to += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
}

}  // namespace block_attention
