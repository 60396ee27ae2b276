// A block's shared memory, and for every two bytes of it who wrote and who read them: finds races,
// reads of what nobody wrote, and accesses to what an asynchronous copy is still writing. Two
// bytes, because neighbouring 16-bit elements belong to different threads; single bytes count as
// two.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "emulator/sites.hpp"

namespace block_attention::cuda::emulator {

struct Thread;

// Who wrote: a thread, or an asynchronous copy that an mbarrier counts.
enum class Writer : uint8_t { kNobody, kThread, kCopy };

class SharedMemory {
 public:
  static constexpr uint32_t kBase = 1024;  // what shared_base() says

  // Poison; nobody has written any of it. `generation` is the first of the block.
  void reset(uint32_t bytes, uint32_t generation);

  unsigned char* at(uint32_t address) { return memory_.data() + (address - kBase); }

  // An access of the running thread, which fails where it must not be; the pointer is to the bytes.
  const unsigned char* read(const char* operation, uint32_t address, uint32_t bytes,
                            uint32_t alignment, const std::source_location& place);
  unsigned char* write(const char* operation, uint32_t address, uint32_t bytes, uint32_t alignment,
                       const std::source_location& place);
  // Atomics are no races among each other.
  unsigned char* atomic(const char* operation, uint32_t address, uint32_t bytes,
                        const std::source_location& place);
  // By the tensor cores, through the asynchronous proxy: plain stores before must be fenced.
  const unsigned char* read_through_proxy(const char* operation, uint32_t address, uint32_t bytes,
                                          const std::source_location& place);

  // An asynchronous copy to these bytes is on its way: nobody may touch them. Checks as a write.
  unsigned char* begin_copy(const char* operation, uint32_t address, uint32_t bytes,
                            uint32_t alignment, const std::source_location& place);
  // It has arrived, and the running thread knows.
  void end_copy(uint32_t address, uint32_t bytes);
  // It has arrived, and whoever has seen this phase of the mbarrier knows.
  void end_copy(uint32_t address, uint32_t bytes, uint32_t mbarrier, uint32_t phase);

  // From here to end_reads(), which follows read_through_proxy(), nobody may write: wgmma reads at
  // some time in between. Checks as that read.
  void begin_reads(const char* operation, uint32_t address, uint32_t bytes,
                   const std::source_location& place);
  void end_reads(uint32_t address, uint32_t bytes);

  // Fails unless the running thread's access is ordered after the last write.
  void check_ordered(const char* operation, uint32_t address, const std::source_location& place);

 private:
  static constexpr uint32_t kWordBytes = 2;

  enum class Kind : uint8_t { kReads, kAtomics, kBoth };

  // Lanes of one warp that accessed a word at one time of theirs. A list per word.
  struct Access {
    uint32_t lanes;
    uint32_t next;
    uint16_t clock;
    uint16_t warp;
    Site site;
    bool atomic;
  };
  struct Word {
    uint32_t write_generation = 0;  // of a copy: the mbarrier's phase
    uint16_t writer = 0;            // a thread or an mbarrier
    uint16_t write_clock = 0;
    Site write_site = 0;
    uint16_t pending_reads = 0;
    uint32_t access_generation = 0;
    uint32_t accesses = 0;  // an index, 0: none
    Writer kind = Writer::kNobody;
    bool counted = false;  // there are atomics among the accesses
    bool pending = false;  // an asynchronous copy is on its way
    bool plain = false;    // written by a store, which the asynchronous proxy does not see unfenced
  };

  Word* words(const char* operation, uint32_t address, uint32_t bytes, uint32_t alignment,
              const std::source_location& place);
  // Whether the running thread may read: what most accesses find, at the price of a few compares.
  static bool plainly_readable(const Word& word, uint32_t generation, uint32_t thread) {
    return word.kind == Writer::kThread && !word.pending &&
           (word.write_generation != generation || word.writer == thread) &&
           (word.access_generation != generation || !word.counted);
  }
  void check_written(const Word& word, const char* operation,
                     const std::source_location& place) const;
  void check_readable(const Word& word, const char* operation,
                      const std::source_location& place) const;
  void check_not_being_read(const Word& word, const char* operation,
                            const std::source_location& place) const;
  void check_fenced(const Word& word, const char* operation,
                    const std::source_location& place) const;
  void check_after_write(const Word& word, const char* operation,
                         const std::source_location& place) const;
  void check_after_accesses(const Word& word, Kind kind, const char* operation,
                            const std::source_location& place) const;
  void note_access(Word& word, bool atomic, Site site);
  void note_write(Word& word, Site site);
  void check_write(const Word& word, const char* operation,
                   const std::source_location& place) const;

  std::vector<unsigned char> memory_;
  std::vector<Word> shadow_;
  std::vector<Access> accesses_;
  uint32_t accesses_generation_ = 0;
};

}  // namespace block_attention::cuda::emulator
