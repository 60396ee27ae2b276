#include "model/packed_file.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <system_error>
#include <utility>

#include "core/error.hpp"
#include "core/xxh64.hpp"
#include "model/packed_weights.hpp"

namespace block_attention {
namespace {

// How long a wait for the disk may go unnoticed by whoever wants to end it.
constexpr std::chrono::milliseconds kPollEvery{100};

// "BAINT8" and the version of this format.
constexpr std::array<char, 8> kMagic = {'B', 'A', 'I', 'N', 'T', '8', '\0', 1};

struct Preamble {
  std::array<char, 8> magic;
  uint64_t hash;  // of all that follows in the header
  PackedKey key;
};
static_assert(sizeof(Preamble) == 32);
constexpr size_t kHashed = offsetof(Preamble, key);

constexpr size_t slices_of(size_t bytes) { return (bytes + kPackedSlice - 1) / kPackedSlice; }

// If every matrix is in the file: no header of the model needs more room.
size_t most_slices(std::span<const size_t> sizes) {
  size_t sum = 0;
  for (const size_t size : sizes) sum += slices_of(size);
  return sum;
}

size_t header_size(std::span<const size_t> sizes) {
  return sizeof(Preamble) + sizes.size() + most_slices(sizes) * sizeof(uint64_t);
}

uint64_t hash_of_header(const std::vector<char>& header) {
  return xxh64(header.data() + kHashed, header.size() - kHashed);
}

[[noreturn]] void refuse(const WeightFile& file, const char* what) {
  throw Error(ErrorCode::kModelFormat, file.path() + " " + what);
}

}  // namespace

PackedFileReader::PackedFileReader(std::string path, const PackedKey& key,
                                   std::span<const size_t> sizes)
    : file_(std::move(path)), places_(sizes.size()) {
  const size_t header_bytes = header_size(sizes);
  if (file_.size() < header_bytes) refuse(file_, "is cut off");
  std::vector<char> header(header_bytes);
  file_.read(0, header.data(), header.size());
  Preamble preamble;
  std::memcpy(&preamble, header.data(), sizeof(preamble));
  if (preamble.magic != kMagic || preamble.hash != hash_of_header(header) || preamble.key != key)
    refuse(file_, "does not begin as it was written");

  const char* held = header.data() + sizeof(preamble);
  size_t slices = 0;
  uint64_t end = header_bytes;
  for (size_t i = 0; i < sizes.size(); ++i) {
    places_[i] = {held[i] == 1 && sizes[i] > 0, end, slices};
    if (!places_[i].held) continue;
    slices += slices_of(sizes[i]);
    end += sizes[i];
  }
  if (file_.size() != end) refuse(file_, "has another length than it was written with");
  hashes_.resize(slices);
  std::memcpy(hashes_.data(), held + sizes.size(), slices * sizeof(uint64_t));
}

void PackedFileReader::read(size_t index, size_t slice, void* out, size_t bytes) {
  const Place& place = places_[index];
  try {
    file_.read(place.offset + slice * kPackedSlice, out, bytes);
    if (xxh64(out, bytes) != hashes_[place.first_slice + slice])
      refuse(file_, "is not what was written");
  } catch (...) {
    damaged_ = true;
    throw;
  }
}

PackedFileWriter::PackedFileWriter(std::string path, const PackedKey& key,
                                   std::span<const size_t> sizes)
    : file_(std::move(path)), key_(key), header_bytes_(header_size(sizes)), end_(header_bytes_) {
  hashes_.reserve(most_slices(sizes));
  held_.reserve(sizes.size());
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    throw Error(ErrorCode::kOutOfMemory, "the system starts no more threads");
  }
}

PackedFileWriter::~PackedFileWriter() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void PackedFileWriter::add(std::span<const char> packed) {
  held_.push_back(packed.empty() ? 0 : 1);
  if (packed.empty()) return;
  const std::lock_guard lock(mutex_);
  waiting_.push_back(packed);
  changed_.notify_all();
}

void PackedFileWriter::wait(FunctionRef<void()> poll) {
  std::unique_lock lock(mutex_);
  complete_ = true;
  changed_.notify_all();
  do {
    lock.unlock();
    poll();
    lock.lock();
  } while (!changed_.wait_for(lock, kPollEvery, [this] { return ended_; }));
}

void PackedFileWriter::finish() {
  if (error_) std::rethrow_exception(error_);
  std::vector<char> header(header_bytes_);
  std::memcpy(header.data() + sizeof(Preamble), held_.data(), held_.size());
  std::memcpy(header.data() + sizeof(Preamble) + held_.size(), hashes_.data(),
              hashes_.size() * sizeof(uint64_t));
  Preamble preamble = {kMagic, 0, key_};
  std::memcpy(header.data(), &preamble, sizeof(preamble));
  preamble.hash = hash_of_header(header);
  std::memcpy(header.data(), &preamble, sizeof(preamble));
  file_.write(0, header.data(), header.size());
  file_.put_in_place();
}

void PackedFileWriter::run() {
  std::unique_lock lock(mutex_);
  try {
    while (true) {
      changed_.wait(lock, [this] { return stop_ || complete_ || !waiting_.empty(); });
      if (stop_ || waiting_.empty()) break;
      const std::span<const char> packed = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      write(packed);
      lock.lock();
    }
  } catch (...) {
    error_ = std::current_exception();
    if (!lock.owns_lock()) lock.lock();
  }
  ended_ = true;
  changed_.notify_all();
}

void PackedFileWriter::write(std::span<const char> packed) {
  for (size_t offset = 0; offset < packed.size() && !stop_; offset += kPackedSlice) {
    const auto slice = packed.subspan(offset, std::min(kPackedSlice, packed.size() - offset));
    hashes_.push_back(xxh64(slice.data(), slice.size()));
    file_.write(end_, slice.data(), slice.size());
    end_ += slice.size();
  }
}

}  // namespace block_attention
