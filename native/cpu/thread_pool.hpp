// Worker threads of one CPU backend. The calling thread works too, so a pool of n threads starts n - 1.
// How tasks are dealt out depends on timing; what a task computes must not.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "core/function_ref.hpp"

namespace block_attention {

class ThreadPool {
 public:
  // threads >= 1, the calling thread included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(task, worker) for every task in [0, tasks), 0 <= worker < threads(); returns when all are done.
  // One caller at a time. The body must not throw.
  void run(int64_t tasks, FunctionRef<void(int64_t task, int worker)> body);

 private:
  struct Job {
    FunctionRef<void(int64_t, int)>* body = nullptr;
    int64_t tasks = 0;
  };

  void work(int worker);
  void drain(int worker);

  std::vector<std::thread> workers_;
  Job job_;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> busy_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace block_attention
