#include "cpu/thread_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <vector>

#include "core/error.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

// Work that the compiler keeps.
void spin(int64_t rounds) {
  for (int64_t i = 0; i < rounds; ++i) asm volatile("");
}

TEST(ThreadPoolTest, RefusesLessThanOneThread) {
  for (int threads : {0, -1}) {
    try {
      ThreadPool pool(threads);
      FAIL() << threads;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    }
  }
}

TEST(ThreadPoolTest, RunsEveryTaskOnceOnAWorkerOfThePool) {
  for (int threads : {1, 2, 3, 7, 16}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 5, 16, 17, 1000}) {
      std::vector<int> times(static_cast<size_t>(tasks), 0);  // plain: a task is one thread's alone
      std::atomic<bool> worker_ok{true};
      pool.run(tasks, [&](int64_t task, int worker) {
        ++times[static_cast<size_t>(task)];
        if (worker < 0 || worker >= threads) worker_ok = false;
      });
      ASSERT_EQ(times, std::vector<int>(static_cast<size_t>(tasks), 1)) << threads << " " << tasks;
      ASSERT_TRUE(worker_ok);
    }
    pool.run(-3, [](int64_t, int) { FAIL(); });
  }
}

TEST(ThreadPoolTest, RunsEveryTaskOnceInOrder) {
  for (int threads : {1, 2, 3, 7, 16}) {
    ThreadPool pool(threads);
    for (int64_t tasks : {-1, 0, 1, 2, 3, 5, 16, 17, 1000}) {
      const auto count = static_cast<size_t>(std::max<int64_t>(tasks, 0));
      std::vector<int> times(count, 0);
      for (int round = 0; round < 20; ++round)
        pool.run_in_order(tasks, [&](int64_t task, int) { ++times[static_cast<size_t>(task)]; });
      ASSERT_EQ(times, std::vector<int>(count, 20)) << threads << " " << tasks;
    }
  }
}

// The first task waits until all others are done, so the other worker has to take those behind it.
TEST(ThreadPoolTest, AWorkerThatIsDoneTakesFromTheEndOfAnothersTasks) {
  constexpr int64_t kTasks = 20;
  ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int64_t> done{0};
    std::vector<int64_t> order(kTasks, -1);
    pool.run_in_order(kTasks, [&](int64_t task, int) {
      if (task == 0) {
        while (done.load() < kTasks - 1) spin(10);
      }
      order[static_cast<size_t>(done.fetch_add(1))] = task;
    });
    // Its own upward, the other's downward, and the one that waited.
    std::vector<int64_t> expected;
    for (int64_t task = kTasks / 2; task < kTasks; ++task) expected.push_back(task);
    for (int64_t task = kTasks / 2 - 1; task >= 0; --task) expected.push_back(task);
    ASSERT_EQ(order, expected);
  }
}

// Nobody reads what comes next, so it may lie anywhere: a weight may be gone by then.
TEST(ThreadPoolTest, WhatIsReadNextMayBeAnywhere) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const uintptr_t address : {uintptr_t{64}, uintptr_t{1} << 46}) {
      const NextReads next{reinterpret_cast<const char*>(address), 7, size_t{1} << 20, 4,
                           size_t{1} << 40};
      for (int64_t tasks : {1, 2, 40}) {
        std::vector<int> times(static_cast<size_t>(tasks), 0);
        for (int round = 0; round < 50; ++round) {
          pool.run_in_order(
              tasks, [&](int64_t task, int) { ++times[static_cast<size_t>(task)]; }, next);
        }
        ASSERT_EQ(times, std::vector<int>(static_cast<size_t>(tasks), 50));
      }
    }
  }
}

TEST(ThreadPoolTest, AWorkerRunsOneTaskAtATime) {
  constexpr int kThreads = 6;
  ThreadPool pool(kThreads);
  std::vector<std::atomic<int>> inside(kThreads);
  std::atomic<bool> alone{true};
  for (int round = 0; round < 300; ++round) {
    pool.run(50, [&](int64_t task, int worker) {
      if (inside[static_cast<size_t>(worker)].fetch_add(1) != 0) alone = false;
      spin(task * 10);
      inside[static_cast<size_t>(worker)].fetch_sub(1);
    });
  }
  EXPECT_TRUE(alone);
}

// What tasks wrote is visible after run(), what was written before run() is visible to tasks; plain
// memory throughout, so a thread sanitizer sees a missing edge.
TEST(ThreadPoolTest, ManyRunsOfTasksOfDifferentLengthSeeEachOthersWrites) {
  const uint64_t seed = 31;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int threads : {2, 4, 9}) {
    ThreadPool pool(threads);
    std::vector<int64_t> values(64, 0);
    int64_t added = 0;
    for (int run = 0; run < 4000; ++run) {
      const int64_t tasks = random.between(0, 64);
      const int64_t length = random.between(0, 3) == 0 ? random.between(0, 3000) : 0;
      const int64_t step = random.between(1, 5);
      pool.run(tasks, [&](int64_t task, int worker) {
        if (task % 7 == 0 || worker == 1) spin(length);
        values[static_cast<size_t>(task)] += step;
      });
      added += tasks * step;
      // Some runs follow at once, some after the workers fell asleep.
      if (run % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ASSERT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}), added) << "run " << run;
    }
  }
}

// The callable lives on the caller's stack and dies with each run: a late worker must not touch it.
TEST(ThreadPoolTest, ALateWorkerNeverTouchesAnEarlierJob) {
  ThreadPool pool(8);
  std::atomic<int64_t> wrong{0};
  for (int64_t run = 0; run < 20000; ++run) {
    const auto captured = std::make_unique<int64_t>(run);
    pool.run(2 + run % 3, [&, expected = run](int64_t, int) {
      if (*captured != expected) ++wrong;
    });
  }
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPoolTest, BeginsAndEndsManyTimesAlsoInsideARun) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool idle(4);
    ThreadPool outer(3);
    std::atomic<int64_t> done{0};
    outer.run(i % 6, [&](int64_t, int) {
      ThreadPool inner(2);
      inner.run(4, [&](int64_t, int) { ++done; });
    });
    ASSERT_EQ(done, 4 * (i % 6));
  }
}

TEST(ThreadPoolTest, CanBeUsedFromDifferentThreadsOneAfterTheOther) {
  ThreadPool pool(3);
  int64_t total = 0;
  for (int i = 0; i < 50; ++i) {
    std::thread([&] {
      std::vector<int64_t> parts(10, 0);
      pool.run(10, [&](int64_t task, int) { parts[static_cast<size_t>(task)] = task; });
      total += std::accumulate(parts.begin(), parts.end(), int64_t{0});
    }).join();
  }
  EXPECT_EQ(total, 50 * 45);
}

}  // namespace
}  // namespace block_attention::test
