#include "cpu/thread_pool.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>

#include "core/error.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace block_attention {
namespace {

// How long a thread looks for work before it sleeps in the kernel: longer than the gap between two
// ops of a step, far shorter than what a user would see as load.
constexpr std::chrono::microseconds kSpinTime{50};

// Of what a worker reads next: enough for the time that it waits between two ops; so much of it
// whether or not it waits, since the caller mostly does not; and so much of each run between two
// looks.
constexpr size_t kNextBytes = size_t{32} << 10;
constexpr size_t kLeastNextBytes = size_t{4} << 10;
constexpr size_t kSliceBytes = 512;
constexpr size_t kLine = 64;

// Of the callables of a run and what they refer to, which lie behind each other on the caller's
// stack.
constexpr size_t kCallableBytes = 512;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

template <typename T>
void wait_while_equal(const std::atomic<T>& value, T old) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 1) throw Error(ErrorCode::kInvalidArgument, "threads must be at least 1");
  lanes_ = std::vector<Lane>(static_cast<size_t>(threads));
  next_ = std::vector<Next>(static_cast<size_t>(threads));
  workers_.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int worker = 1; worker < threads; ++worker)
      workers_.emplace_back([this, worker] { work(worker); });
  } catch (const std::exception& error) {
    const std::string started = std::to_string(workers_.size() + 1);
    stop();
    throw Error(ErrorCode::kOutOfMemory, "only " + started + " of " + std::to_string(threads) +
                                             " threads could be started (" + error.what() +
                                             "): ask for fewer threads");
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::run(int64_t tasks, Body body) {
  if (tasks <= 0) return;
  if (workers_.empty() || tasks == 1) {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  const uint32_t count = static_cast<uint32_t>(tasks);
  const uint64_t run = (open_.load(std::memory_order_relaxed) >> 32) + 1;
  done_.store(0, std::memory_order_relaxed);
  body_.store(&body, std::memory_order_release);
  tasks_.store(count, std::memory_order_release);
  open_.store((run << 32) | count, std::memory_order_release);
  generation_.fetch_add(1);
  generation_.notify_all();
  drain(0);
  prefetch_next(0, done_, count, false);
  for (uint32_t done = done_.load(std::memory_order_acquire); done != count;
       done = done_.load(std::memory_order_acquire)) {
    wait_while_equal(done_, done);
  }
}

void ThreadPool::run_in_order(int64_t tasks, Body body, const NextReads& next) {
  if (tasks <= 0) return;
  const int64_t lanes = std::min<int64_t>(threads(), tasks);
  for (int64_t i = 0; i < lanes; ++i) {
    const auto begin = static_cast<uint64_t>(i * tasks / lanes);
    const auto end = static_cast<uint64_t>((i + 1) * tasks / lanes);
    lanes_[static_cast<size_t>(i)].tasks.store((end << 32) | begin, std::memory_order_relaxed);
  }
  run(lanes, [&](int64_t, int worker) {
    // A worker's own tasks are the same ones in every run, whoever comes first.
    const int64_t own = worker % lanes;
    if (next.begin != nullptr && lanes > 1) {
      next_[static_cast<size_t>(worker)] = {
          next.begin + static_cast<size_t>(worker * next.tasks / threads()) * next.task_bytes,
          next.runs, next.run_bytes};
    }
    for (int64_t i = 0; i < lanes; ++i) {
      std::atomic<uint64_t>& lane = lanes_[static_cast<size_t>((own + i) % lanes)].tasks;
      uint64_t left = lane.load(std::memory_order_relaxed);
      for (;;) {
        const uint64_t begin = left & 0xffffffff;
        const uint64_t end = left >> 32;
        if (begin == end) break;
        const bool is_own = i == 0;
        const uint64_t rest = is_own ? left + 1 : left - (uint64_t{1} << 32);
        if (!lane.compare_exchange_weak(left, rest, std::memory_order_relaxed)) continue;
        body(static_cast<int64_t>(is_own ? begin : end - 1), worker);
        left = lane.load(std::memory_order_relaxed);
      }
    }
  });
}

// Why no task is run twice, or with another run's body: body_ changes only after all tasks of the
// run before were taken. Whoever reads a changed body_ therefore also sees that open_ has moved on,
// and its exchange of the older value fails.
void ThreadPool::drain(int worker) {
  uint32_t ended = 0;
  uint32_t tasks = 0;
  uint64_t open = open_.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(open) != 0) {
    Body* body = body_.load(std::memory_order_acquire);
    const uint32_t count = tasks_.load(std::memory_order_acquire);
    if (!open_.compare_exchange_weak(open, open - 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire))
      continue;
    // From here to the report below the run cannot end.
    tasks = count;
    (*body)(count - static_cast<uint32_t>(open), worker);
    ++ended;
    open = open_.load(std::memory_order_acquire);
  }
  if (ended != 0 && done_.fetch_add(ended) + ended == tasks) done_.notify_one();
}

void ThreadPool::prefetch_next(int worker, const std::atomic<uint32_t>& value, uint32_t old,
                               bool equal) {
  Next& next = next_[static_cast<size_t>(worker)];
  if (next.begin == nullptr) return;
  size_t asked = 0;
  for (size_t at = 0; asked < kNextBytes; at += kSliceBytes) {
    if (asked >= kLeastNextBytes && (value.load(std::memory_order_relaxed) == old) != equal) break;
    for (int64_t run = 0; run < next.runs; ++run) {
      const char* from = next.begin + static_cast<size_t>(run) * next.run_bytes + at;
      for (size_t i = 0; i < kSliceBytes; i += kLine) __builtin_prefetch(from + i, 0, 2);
      asked += kSliceBytes;
    }
  }
  next = {};
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    wait_while_equal(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    // All lines of the caller's that this worker is about to need at once, and not one after the
    // other as pointers are followed.
    __builtin_prefetch(&lanes_[static_cast<size_t>(worker)], 1);
    const char* body = reinterpret_cast<const char*>(body_.load(std::memory_order_relaxed));
    for (size_t i = 0; i < kCallableBytes; i += kLine) __builtin_prefetch(body + i);
    drain(worker);
    prefetch_next(worker, generation_, seen, true);
  }
}

}  // namespace block_attention
