// A file that takes its name only once it is whole: written beside it under another name, then
// renamed. Whoever opens the name finds the old file or the new one, never a part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace block_attention {

class ReplacementFile {
 public:
  // Throws Error(kIo) if no file can be made in the folder of `path`.
  explicit ReplacementFile(std::string path);
  // Removes what was not put in place.
  ~ReplacementFile();
  ReplacementFile(const ReplacementFile&) = delete;
  ReplacementFile& operator=(const ReplacementFile&) = delete;

  // Throws Error(kIo), and what is written so far is then gone: a full disk gets its room back at
  // once.
  void write(uint64_t offset, const void* data, uint64_t bytes);
  // Gives the file its name. Throws Error(kIo). It is not flushed to the disk before: a power
  // failure may leave less than was written under the name, so whoever reads it checks it.
  void put_in_place();

  // What the names of files that are not yet in place end with, behind the name that they are to
  // get and a number.
  static constexpr const char* kUnfinished = ".unfinished";
  // Removes files from `folder` whose writers were killed, if they were to be called
  // "<anything><extension>". Throws std::filesystem::filesystem_error if there is no such folder.
  static void remove_abandoned(const std::filesystem::path& folder, const std::string& extension);

 private:
  [[noreturn]] void fail(const std::string& path);
  void remove() noexcept;

  std::string path_;
  std::string unfinished_path_;
  int descriptor_ = -1;
};

}  // namespace block_attention
