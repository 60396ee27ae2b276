// The block that runs: its threads, warps, barriers, and who is next. Blocks run one after another,
// one thread of a block at a time.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "cuda/launch.cuh"
#include "emulator/clock.hpp"
#include "emulator/fiber.hpp"
#include "emulator/options.hpp"
#include "emulator/shadow.hpp"

namespace block_attention::cuda::emulator {

inline constexpr uint32_t kWarpSize = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;
inline constexpr uint32_t kMaxThreads = 1024;

// A cp.async that has not arrived.
struct PendingCopy {
  uint32_t to;
  const void* from;  // null: zeros
  std::source_location place;
};

struct Thread {
  Fiber fiber;
  uint32_t id = 0;
  uint32_t lane = 0;
  uint32_t warp = 0;
  bool done = false;
  // Where it stands, when it waits.
  const char* waits_for = "";
  std::source_location place;
  // Own time: counts up whenever knowledge of this thread is handed on.
  uint16_t now = 1;
  Clock clock;
  // The last moment at which stores were fenced for the asynchronous proxy.
  uint32_t fenced_generation = 0;
  uint16_t fenced_at = 0;
  std::vector<PendingCopy> open_copies;
  std::deque<std::vector<PendingCopy>> copy_groups;
};

struct WarpgroupProduct;

struct Warp {
  uint32_t ready = kAllLanes;  // lanes that can run
  uint32_t alive = kAllLanes;
  uint32_t priority = 0;
  // The collective that lanes have arrived at.
  uint32_t arrived = 0;
  const char* operation = "";
  std::source_location place;
  std::array<void*, kWarpSize> arguments = {};
  // wgmma: products of the open group, of the committed ones, and all that were ever issued.
  std::vector<WarpgroupProduct> open_products;
  std::deque<std::vector<WarpgroupProduct>> product_groups;
  bool registers_fenced = false;
  std::vector<uint64_t> issued;

  ~Warp();
  Warp();
  Warp(Warp&&) noexcept;
};

// A barrier of the block, 0 being that of syncthreads.
struct NamedBarrier {
  uint32_t expected = 0;
  uint32_t arrived = 0;
  bool only_waiters = true;
  std::vector<uint32_t> waiting_warps;
  Clock clock;  // of those that only arrived
};

// A transaction barrier in shared memory.
struct TransactionBarrier {
  uint32_t address = 0;
  uint32_t count = 0;
  uint32_t pending = 0;
  int64_t bytes = 0;   // to come in this phase
  uint32_t phase = 0;  // how many have ended
  Clock arriving;
  Clock ended;
  std::vector<uint32_t> waiters;
};

struct TmaCopy;

class Block {
 public:
  Block();
  ~Block();

  // Runs the kernel once for every block of the grid, in an order that the seed decides. Throws
  // KernelFailure.
  void run_grid(const LaunchShape& shape, uint64_t seed, bool late_copies,
                const std::function<void()>& kernel);

  uint32_t random();
  bool full_barrier_count(uint32_t count) const { return count == shape.threads; }
  // Everything before is ordered against everything after, for all threads.
  void start_generation();

  Thread& thread(uint32_t id) { return *threads_[id]; }
  uint32_t thread_count() const { return shape.threads; }
  uint32_t warp_count() const { return shape.threads / kWarpSize; }
  Warp& warp(uint32_t index) { return warps[index]; }

  // Switches to the scheduler until wake() was called for the running thread.
  void wait(const char* operation, const std::source_location& place);
  void wake(uint32_t thread);

  LaunchShape shape;
  Grid index;  // of this block in the grid
  bool late_copies = true;
  uint32_t generation = 1;         // of now
  uint32_t first_generation = 1;   // of this block
  uint32_t launch_generation = 1;  // of the launch
  std::vector<Warp> warps;
  std::array<NamedBarrier, 16> barriers;
  std::vector<TransactionBarrier> transaction_barriers;
  std::vector<TmaCopy> tma_copies;
  SharedMemory shared;

 private:
  void run_block();
  void prepare();
  void schedule();
  Warp* next_warp(bool new_priority);
  void run_lane(Warp& warp, uint32_t first_lane);
  void check_end();
  [[noreturn]] void report_deadlock();
  static void thread_main(void* thread);

  std::vector<std::unique_ptr<Thread>> threads_;
  const std::function<void()>* kernel_ = nullptr;
  Warp* turn_ = nullptr;
  uint32_t alive_ = 0;
  std::string failure_;
  uint64_t random_state_ = 1;
};

// The ones that run. Null outside of a launch.
extern Block* current_block;
extern Thread* current_thread;

inline Warp& current_warp() { return current_block->warps[current_thread->warp]; }

// What `thread` knows of others, itself included.
inline bool knows(const Thread& thread, uint32_t generation, uint32_t other, uint16_t clock) {
  return other == thread.id || thread.clock.seen(generation, other) >= clock;
}
// Hands what `thread` knows on to `into`.
void release(Thread& thread, Clock& into);
void acquire(Thread& thread, const Clock& from);

}  // namespace block_attention::cuda::emulator
