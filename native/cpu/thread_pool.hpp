// Worker threads of one CPU backend. The calling thread works too, so a pool of n threads starts n
// - 1. How tasks are dealt out depends on timing; what a task computes must not.
//
// A run waits for its tasks, not for its workers: one that the system wakes late finds nothing left
// and goes back to sleep, and the caller has long gone on.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/function_ref.hpp"

namespace block_attention {

// Where each worker will begin to read in a run of tasks to come: task i of `tasks` reads `runs`
// runs of memory that begin `run_bytes` from each other, the first at begin + i * task_bytes.
struct NextReads {
  const char* begin = nullptr;
  int64_t tasks = 0;
  size_t task_bytes = 0;
  int64_t runs = 0;
  size_t run_bytes = 0;
};

class ThreadPool {
 public:
  // threads >= 1, the calling thread included. Throws Error(kInvalidArgument), and
  // Error(kOutOfMemory) if the system starts no more threads.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(task, worker) for every task in [0, tasks), tasks < 2^32 and 0 <= worker < threads();
  // returns when all are done. One caller at a time, and never from inside a task of the same pool.
  // The body must not throw.
  void run(int64_t tasks, FunctionRef<void(int64_t task, int worker)> body);

  // The same, where what a task needs lies behind what the one before needs: every worker gets
  // tasks that follow each other, and takes others from the ends of their runs when it is done with
  // them. A worker that then waits for others asks for the beginning of what it will read next, so
  // that memory does not stand still meanwhile; `next` may be anything, since asking never fails.
  void run_in_order(int64_t tasks, FunctionRef<void(int64_t task, int worker)> body,
                    const NextReads& next = {});

 private:
  using Body = FunctionRef<void(int64_t, int)>;
  // A run of tasks that nobody has taken yet: the first in the low half, the end in the high one.
  struct alignas(64) Lane {
    std::atomic<uint64_t> tasks{0};
  };
  // What a worker will read next; its own alone.
  struct alignas(64) Next {
    const char* begin = nullptr;
    int64_t runs = 0;
    size_t run_bytes = 0;
  };

  void work(int worker);
  void drain(int worker);
  // Asks for what `worker` will read next for as long as `value` is, or is not, `old`.
  void prefetch_next(int worker, const std::atomic<uint32_t>& value, uint32_t old, bool equal);
  void stop();

  std::vector<std::thread> workers_;
  std::vector<Lane> lanes_;
  std::vector<Next> next_;
  // The run's number in the high half, how many of its tasks nobody has taken yet in the low one. A
  // task is taken by exchanging this word, so only while its run is the current one; body_ and
  // tasks_ change only while nothing is left. They share a cache line with what workers look at
  // while they wait: a line of another core can take longer than a small op.
  alignas(64) std::atomic<uint64_t> open_{0};
  std::atomic<Body*> body_{nullptr};
  std::atomic<uint32_t> tasks_{0};
  std::atomic<uint32_t> generation_{0};  // what workers sleep on: counts runs
  std::atomic<bool> stop_{false};
  alignas(64) std::atomic<uint32_t> done_{0};  // tasks of this run that have ended
};

}  // namespace block_attention
