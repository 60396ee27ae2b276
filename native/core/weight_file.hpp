// A file that weights are read from. Read with pread, not mapped: weights are packed once at load,
// so a mapping would save nothing, and a mapped file that shrinks meanwhile would end the process
// with SIGBUS. Here it is an error.
#pragma once

#include <cstdint>
#include <string>

namespace block_attention {

class WeightFile {
 public:
  // Throws Error(kIo) if the path is not a regular file that can be opened.
  explicit WeightFile(std::string path);
  WeightFile(WeightFile&& other) noexcept;
  WeightFile& operator=(WeightFile&&) = delete;
  ~WeightFile();

  const std::string& path() const { return path_; }
  // Bytes when it was opened.
  uint64_t size() const { return size_; }
  // When its content was changed last, as the file system has it now: nanoseconds since 1970.
  // Throws Error(kIo).
  int64_t modified_ns() const;

  // Any thread. Throws Error(kIo) if the file cannot be read, or Error(kModelFormat) if it ends
  // before `offset + bytes`.
  void read(uint64_t offset, void* out, uint64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace block_attention
