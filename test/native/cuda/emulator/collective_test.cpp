// Collectives and barriers that not all reach, and what becomes of a kernel that fails.
#include "emulator/options.hpp"
#include "emulator/run_lambda.hpp"

namespace block_attention::cuda::emulator {
namespace {

TEST(EmulatorCollective, DivergentCollective) {
  expect_failure(run_lambda(32,
                            [] {
                              if (lane() < 16) {
                                shfl_xor(1u, 1);
                              } else {
                                syncwarp();
                              }
                            }),
                 "divergent collective: ");
}

TEST(EmulatorCollective, TheSameCollectiveAtTwoPlaces) {
  expect_failure(run_lambda(32,
                            [] {
                              if (lane() < 16) {
                                syncwarp();
                              } else {
                                syncwarp();
                              }
                            }),
                 "divergent collective: syncwarp");
}

TEST(EmulatorCollective, HalfAWarp) {
  const std::string got = run_lambda(64, [] {
    if (warp() == 1 && lane() < 16) shfl_xor(1u, 1);
  });
  expect_failure(got, "deadlock: 16 lanes of warp 1 wait for shfl_xor at collective_test.cpp:");
}

TEST(EmulatorCollective, ALaneThatHasEnded) {
  expect_failure(run_lambda(32,
                            [] {
                              if (lane() == 31) return;
                              ballot(true);
                            }),
                 "deadlock: 31 lanes of warp 0 wait for ballot");
}

TEST(EmulatorCollective, BarrierInABranchOfWarps) {
  expect_failure(run_lambda(64,
                            [] {
                              if (warp() == 0) syncthreads();
                            }),
                 "deadlock: 32 lanes of warp 0 wait for syncthreads");
}

// A card may count lanes or warps here; PTX calls it undefined, as bar.sync is aligned.
TEST(EmulatorCollective, BarrierInABranchOfLanes) {
  expect_failure(run_lambda(64,
                            [] {
                              if (lane() < 16) {
                                syncthreads();
                              } else {
                                syncthreads();
                              }
                            }),
                 "divergent collective: syncthreads");
}

TEST(EmulatorCollective, BarriersWithOtherCounts) {
  expect_failure(run_lambda(96, [] { bar_sync(1, warp() == 0 ? 64 : 96); }), "two thread counts");
  expect_failure(run_lambda(64, [] { bar_sync(1, 48); }), "barrier for 48 threads");
  expect_failure(run_lambda(64, [] { bar_sync(1, 96); }), "barrier for 96 threads");
  expect_failure(run_lambda(64, [] { bar_sync(16, 64); }), "barriers 0 to 15");
  expect_failure(run_lambda(64, [] { bar_sync(static_cast<int>(lane() / 16), 64); }),
                 "different barriers");
}

TEST(EmulatorCollective, ShufflesFromNoLane) {
  expect_failure(run_lambda(32, [] { shfl(1u, 32); }), "no such lane");
  expect_failure(run_lambda(32, [] { shfl_xor(1u, 32); }), "no lane");
  expect_failure(run_lambda(32, [] { shfl_up(1u, -1); }), "no lane");
}

TEST(EmulatorCollective, NothingGoesOnAfterAFailure) {
  static int after;
  after = 0;
  const std::string got = run_lambda({.grid = {5}, .threads = 64}, [] {
    syncthreads();
    if (threadIdx.x == 40) fail("on purpose", std::source_location::current());
    syncthreads();
    ++after;
  });
  expect_failure(got, "collective_test.cpp:");
  expect_failure(got, "on purpose (thread 40, block ");
  expect_failure(got, "kernel lambda, seed ");
  EXPECT_EQ(after, 0);
  // The next kernel starts from a clean state.
  EXPECT_EQ(run_lambda({.grid = {5}, .threads = 64}, [] { syncthreads(); }), "");
}

TEST(EmulatorCollective, TheSeedDecidesTheOrder) {
  static std::vector<uint32_t> order;
  const auto record = [](uint64_t seed) {
    const uint64_t before = options().seed;
    options().seed = seed;
    order.clear();
    EXPECT_EQ(run_lambda({.grid = {7, 2}, .threads = 64},
                         [] {
                           order.push_back(blockIdx.y * 1000 + blockIdx.x * 100 + threadIdx.x);
                           syncthreads();
                           order.push_back(threadIdx.x);
                         }),
              "");
    options().seed = before;
    return order;
  };
  const std::vector<uint32_t> first = record(1);
  EXPECT_EQ(first.size(), 7u * 2 * 64 * 2);
  EXPECT_EQ(record(1), first);
  EXPECT_NE(record(2), first);
}

// Locals that nobody wrote hold a pattern, not what happened to be there.
TEST(EmulatorCollective, UninitialisedLocalsAreNoZeros) {
  static uint32_t seen;
  EXPECT_EQ(run_lambda(32,
                       [] {
                         volatile uint32_t words[16];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
                         seen = words[7];
#pragma GCC diagnostic pop
                       }),
            "");
  EXPECT_EQ(seen, 0xfefefefeu);
}

}  // namespace
}  // namespace block_attention::cuda::emulator
