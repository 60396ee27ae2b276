#include "emulator/written.hpp"

#include <sys/mman.h>

#include <new>
#include <string>

#include "emulator/block.hpp"
#include "emulator/failure.hpp"

namespace block_attention::cuda::emulator {
namespace {

constexpr size_t kWordBytes = 2;

}  // namespace

std::string WrittenMemory::by(const Word& word) {
  return "the write of thread " + std::to_string(word.writer) + " at " +
         place_text(place_of(word.site));
}

WrittenMemory::WrittenMemory(size_t bytes) : words_((bytes + kWordBytes - 1) / kWordBytes) {
  void* memory = mmap(nullptr, words_ * sizeof(Word), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<Word*>(memory);
}

WrittenMemory::~WrittenMemory() { munmap(memory_, words_ * sizeof(Word)); }

void WrittenMemory::check(const Word& word, const char* operation,
                          const std::source_location& place) const {
  const Block& block = *current_block;
  if (word.generation < block.first_generation) {
    fail(std::string(operation) + ": race with another block of this launch, " + by(word), place);
  }
  if (word.generation == block.generation &&
      !knows(*current_thread, word.generation, word.writer, word.clock)) {
    fail(std::string(operation) + ": race in global memory, not ordered after " + by(word), place);
  }
}

void WrittenMemory::read(const char* operation, size_t offset, size_t bytes,
                         const std::source_location& place) const {
  const uint32_t launch = current_block->launch_generation;
  for (size_t i = offset / kWordBytes; i < (offset + bytes + 1) / kWordBytes; ++i) {
    if (memory_[i].generation >= launch) check(memory_[i], operation, place);
  }
}

void WrittenMemory::read_constant(const char* operation, size_t offset, size_t bytes,
                                  const std::source_location& place) const {
  const uint32_t launch = current_block->launch_generation;
  for (size_t i = offset / kWordBytes; i < (offset + bytes + 1) / kWordBytes; ++i) {
    if (memory_[i].generation >= launch) {
      fail(std::string(operation) + ": reads what this launch writes, at " +
               place_text(place_of(memory_[i].site)),
           place);
    }
  }
}

void WrittenMemory::write(const char* operation, size_t offset, size_t bytes,
                          const std::source_location& place) {
  read(operation, offset, bytes, place);
  const Thread& self = *current_thread;
  const Word written = {current_block->generation, static_cast<uint16_t>(self.id), self.now,
                        site_of(place)};
  for (size_t i = offset / kWordBytes; i < (offset + bytes + 1) / kWordBytes; ++i) {
    memory_[i] = written;
  }
}

}  // namespace block_attention::cuda::emulator
