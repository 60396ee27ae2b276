#include "emulator/shadow.hpp"

#include <algorithm>

#include "emulator/block.hpp"
#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {
namespace {

std::string by(uint32_t thread, Site site) {
  return "of thread " + std::to_string(thread) + " at " + place_text(place_of(site));
}

}  // namespace

void SharedMemory::reset(uint32_t bytes, uint32_t generation) {
  memory_.assign(bytes, 0xff);
  shadow_.assign((bytes + kWordBytes - 1) / kWordBytes, Word{});
  accesses_.assign(1, Access{});
  accesses_generation_ = generation;
}

SharedMemory::Word* SharedMemory::words(const char* operation, uint32_t address, uint32_t bytes,
                                        uint32_t alignment, const std::source_location& place) {
  if (address % alignment != 0) {
    fail(std::string(operation) + ": misaligned shared address, offset " +
             std::to_string(address - kBase),
         place);
  }
  if (address < kBase || address - kBase + uint64_t{bytes} > memory_.size()) {
    fail(std::string(operation) + ": shared address out of bounds, offset " +
             std::to_string(static_cast<int64_t>(address) - kBase) + " of " +
             std::to_string(memory_.size()) + " bytes",
         place);
  }
  return &shadow_[(address - kBase) / kWordBytes];
}

void SharedMemory::check_after_write(const Word& word, const char* operation,
                                     const std::source_location& place) const {
  const Thread& self = *current_thread;
  if (word.pending) {
    fail(std::string(operation) +
             ": touches what an asynchronous copy is still writing, the issue " +
             by(word.writer, word.write_site),
         place);
  }
  if (word.kind == Writer::kThread && word.write_generation == current_block->generation &&
      !knows(self, word.write_generation, word.writer, word.write_clock)) {
    fail(std::string(operation) + ": race, not ordered after the write " +
             by(word.writer, word.write_site),
         place);
  }
  if (word.kind == Writer::kCopy && self.clock.seen_phase(word.writer) < word.write_generation) {
    fail(std::string(operation) + ": race, not ordered after the bulk copy issued at " +
             place_text(place_of(word.write_site)) + "; its mbarrier was not waited for",
         place);
  }
}

void SharedMemory::check_after_accesses(const Word& word, Kind kind, const char* operation,
                                        const std::source_location& place) const {
  if (word.access_generation != current_block->generation) return;
  const Thread& self = *current_thread;
  for (uint32_t i = word.accesses; i != 0; i = accesses_[i].next) {
    const Access& access = accesses_[i];
    if (kind == (access.atomic ? Kind::kReads : Kind::kAtomics)) continue;
    uint32_t lanes = access.lanes;
    if (access.warp == self.warp) lanes &= ~(1u << self.lane);
    for (; lanes != 0; lanes &= lanes - 1) {
      const uint32_t other = access.warp * kWarpSize + static_cast<uint32_t>(__builtin_ctz(lanes));
      if (!knows(self, word.access_generation, other, access.clock)) {
        fail(std::string(operation) + ": race, not ordered after the " +
                 (access.atomic ? "atomic " : "read ") + by(other, access.site),
             place);
      }
    }
  }
}

void SharedMemory::note_access(Word& word, bool atomic, Site site) {
  const Thread& self = *current_thread;
  const uint32_t generation = current_block->generation;
  // Lists of older generations are never looked at again.
  if (accesses_generation_ != generation) {
    accesses_.resize(1);
    accesses_generation_ = generation;
  }
  if (word.access_generation != generation) {
    word.access_generation = generation;
    word.accesses = 0;
    word.counted = false;
  }
  word.counted = word.counted || atomic;
  const uint32_t lane = 1u << self.lane;
  Access* same_time = nullptr;
  Access* empty = nullptr;
  for (uint32_t i = word.accesses; i != 0; i = accesses_[i].next) {
    Access& access = accesses_[i];
    if (access.warp != self.warp || access.atomic != atomic) continue;
    if (access.clock == self.now) {
      same_time = &access;
      continue;
    }
    // Whoever comes after this thread's access of now comes after its earlier one too.
    access.lanes &= ~lane;
    if (access.lanes == 0) empty = &access;
  }
  if (same_time != nullptr) {
    same_time->lanes |= lane;
    same_time->site = site;
  } else if (empty != nullptr) {
    empty->lanes = lane;
    empty->clock = self.now;
    empty->site = site;
  } else {
    accesses_.push_back(
        {lane, word.accesses, self.now, static_cast<uint16_t>(self.warp), site, atomic});
    word.accesses = static_cast<uint32_t>(accesses_.size() - 1);
  }
}

void SharedMemory::check_written(const Word& word, const char* operation,
                                 const std::source_location& place) const {
  if (word.kind != Writer::kNobody) return;
  fail(std::string(operation) + ": reads shared memory that nobody wrote, offset " +
           std::to_string((&word - shadow_.data()) * kWordBytes),
       place);
}

void SharedMemory::check_readable(const Word& word, const char* operation,
                                  const std::source_location& place) const {
  check_written(word, operation, place);
  check_after_write(word, operation, place);
  check_after_accesses(word, Kind::kAtomics, operation, place);
}

void SharedMemory::check_not_being_read(const Word& word, const char* operation,
                                        const std::source_location& place) const {
  if (word.pending_reads != 0) {
    fail(std::string(operation) + ": writes what wgmma is still reading", place);
  }
}

void SharedMemory::check_write(const Word& word, const char* operation,
                               const std::source_location& place) const {
  check_not_being_read(word, operation, place);
  check_after_write(word, operation, place);
  check_after_accesses(word, Kind::kBoth, operation, place);
}

void SharedMemory::note_write(Word& word, Site site) {
  const Thread& self = *current_thread;
  word.write_generation = current_block->generation;
  word.writer = static_cast<uint16_t>(self.id);
  word.write_clock = self.now;
  word.write_site = site;
  word.kind = Writer::kThread;
  word.plain = true;
  word.access_generation = 0;
}

const unsigned char* SharedMemory::read(const char* operation, uint32_t address, uint32_t bytes,
                                        uint32_t alignment, const std::source_location& place) {
  Word* word = words(operation, address, bytes, alignment, place);
  const Site site = site_of(place);
  const uint32_t generation = current_block->generation;
  const uint32_t self = current_thread->id;
  for (uint32_t i = 0; i < bytes; i += kWordBytes, ++word) {
    if (!plainly_readable(*word, generation, self)) check_readable(*word, operation, place);
    note_access(*word, false, site);
  }
  return at(address);
}

void SharedMemory::check_fenced(const Word& word, const char* operation,
                                const std::source_location& place) const {
  if (word.kind != Writer::kThread || !word.plain) return;
  const Thread& writer = current_block->thread(word.writer);
  const bool fenced =
      writer.fenced_generation > word.write_generation ||
      (writer.fenced_generation == word.write_generation && writer.fenced_at >= word.write_clock);
  if (!fenced) {
    fail(std::string(operation) + ": no fence_proxy_async after the write " +
             by(word.writer, word.write_site),
         place);
  }
}

const unsigned char* SharedMemory::read_through_proxy(const char* operation, uint32_t address,
                                                      uint32_t bytes,
                                                      const std::source_location& place) {
  const Word* word = words(operation, address, bytes, kWordBytes, place);
  for (uint32_t i = 0; i < bytes; i += kWordBytes, ++word) check_fenced(*word, operation, place);
  return read(operation, address, bytes, kWordBytes, place);
}

unsigned char* SharedMemory::write(const char* operation, uint32_t address, uint32_t bytes,
                                   uint32_t alignment, const std::source_location& place) {
  Word* word = words(operation, address, bytes, alignment, place);
  const Site site = site_of(place);
  const uint32_t generation = current_block->generation;
  for (uint32_t i = 0; i < bytes; i += kWordBytes, ++word) {
    // Most words were neither written nor read since the last barrier of the whole block.
    const bool quiet = !word->pending && word->pending_reads == 0 && word->kind != Writer::kCopy &&
                       word->write_generation != generation &&
                       word->access_generation != generation;
    if (!quiet) check_write(*word, operation, place);
    note_write(*word, site);
  }
  return at(address);
}

unsigned char* SharedMemory::atomic(const char* operation, uint32_t address, uint32_t bytes,
                                    const std::source_location& place) {
  Word* word = words(operation, address, bytes, bytes, place);
  const Site site = site_of(place);
  for (uint32_t i = 0; i < bytes; i += kWordBytes, ++word) {
    check_written(*word, operation, place);
    check_after_write(*word, operation, place);
    check_not_being_read(*word, operation, place);
    check_after_accesses(*word, Kind::kReads, operation, place);
    note_access(*word, true, site);
  }
  return at(address);
}

unsigned char* SharedMemory::begin_copy(const char* operation, uint32_t address, uint32_t bytes,
                                        uint32_t alignment, const std::source_location& place) {
  unsigned char* to = write(operation, address, bytes, alignment, place);
  for (uint32_t i = 0; i < bytes / kWordBytes; ++i) {
    shadow_[(address - kBase) / kWordBytes + i].pending = true;
  }
  return to;
}

void SharedMemory::end_copy(uint32_t address, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes / kWordBytes; ++i) {
    Word& word = shadow_[(address - kBase) / kWordBytes + i];
    const Site issued = word.write_site;
    word.pending = false;
    note_write(word, issued);
  }
}

void SharedMemory::end_copy(uint32_t address, uint32_t bytes, uint32_t mbarrier, uint32_t phase) {
  for (uint32_t i = 0; i < bytes / kWordBytes; ++i) {
    Word& word = shadow_[(address - kBase) / kWordBytes + i];
    word.pending = false;
    word.plain = false;
    word.kind = Writer::kCopy;
    word.writer = static_cast<uint16_t>(mbarrier);
    word.write_generation = phase;
  }
}

void SharedMemory::begin_reads(const char* operation, uint32_t address, uint32_t bytes,
                               const std::source_location& place) {
  Word* word = words(operation, address, bytes, kWordBytes, place);
  for (uint32_t i = 0; i < bytes; i += kWordBytes, ++word) {
    check_readable(*word, operation, place);
    check_fenced(*word, operation, place);
    ++word->pending_reads;
  }
}

void SharedMemory::end_reads(uint32_t address, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes / kWordBytes; ++i) {
    --shadow_[(address - kBase) / kWordBytes + i].pending_reads;
  }
}

void SharedMemory::check_ordered(const char* operation, uint32_t address,
                                 const std::source_location& place) {
  check_after_write(*words(operation, address, kWordBytes, kWordBytes, place), operation, place);
}

}  // namespace block_attention::cuda::emulator
