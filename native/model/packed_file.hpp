// A file of int8 weights as a backend packed them: written while a model is quantised, read by
// later loads of the same model instead of quantising it again.
//
//   header: magic, hash of what follows in the header, key;
//           for each matrix of the model a byte, 1 if it is here, 0 if it stays as it is stored;
//           the hash of each slice (kPackedSlice), and zeros for those of matrices that are not
//           here
//   the slices of one matrix after another
//
// Nothing in it is believed before its hash is checked, and nothing in it says how much is read or
// allocated: that follows from the model. Whatever is cut off, torn or changed is so noticed.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/function_ref.hpp"
#include "core/replacement_file.hpp"
#include "core/weight_file.hpp"

namespace block_attention {

// What the weights were made from and how: files with equal keys hold the same.
using PackedKey = std::array<uint64_t, 2>;

// Calls from one thread, but for read().
class PackedFileReader {
 public:
  // `sizes`: packed bytes of each matrix of the model. Throws Error(kIo) if the file cannot be
  // read, Error(kModelFormat) if it is not a whole one of this key and these sizes.
  PackedFileReader(std::string path, const PackedKey& key, std::span<const size_t> sizes);

  // Whether matrix `index` is in the file; else it stays as it is stored.
  bool holds(size_t index) const { return places_[index].held; }
  // Slice `slice` of a matrix that the file holds. Throws if it is not what was written; the file
  // is then damaged().
  void read(size_t index, size_t slice, void* out, size_t bytes);

  // Something in the file turned out not to be what was written.
  bool damaged() const { return damaged_; }

 private:
  struct Place {
    bool held = false;
    uint64_t offset = 0;
    size_t first_slice = 0;
  };

  WeightFile file_;
  std::vector<uint64_t> hashes_;
  std::vector<Place> places_;
  std::atomic<bool> damaged_{false};
};

// Writes on a thread of its own, straight from where the weights lie.
class PackedFileWriter {
 public:
  // Throws Error(kIo) if there cannot be such a file, Error(kOutOfMemory).
  PackedFileWriter(std::string path, const PackedKey& key, std::span<const size_t> sizes);
  // Removes what is not finished.
  ~PackedFileWriter();

  // The next matrix, whose bytes must stay until finish() or the destructor returns; empty if it
  // stays as it is stored.
  void add(std::span<const char> packed);
  // Comes after the last matrix: returns when nothing is left to write. Calls `poll` at once and
  // then now and again, and passes on what it throws.
  void wait(FunctionRef<void()> poll);
  // Comes last: gives the file its name. Throws what went wrong since the beginning.
  void finish();

 private:
  void run();
  void write(std::span<const char> packed);

  ReplacementFile file_;
  PackedKey key_;
  size_t header_bytes_;
  std::vector<uint8_t> held_;
  // The thread's, until it has ended.
  std::vector<uint64_t> hashes_;
  uint64_t end_;
  std::exception_ptr error_;

  std::atomic<bool> stop_{false};  // what is left need not be written
  std::mutex mutex_;               // guards what follows
  std::condition_variable changed_;
  std::deque<std::span<const char>> waiting_;
  bool complete_ = false;  // nothing more will be added
  bool ended_ = false;     // the thread will not touch anything any more
  std::thread thread_;
};

}  // namespace block_attention
