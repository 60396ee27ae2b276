// The check of what is ordered in shared memory: every kind of race fires, and what is ordered
// does not.
#include "emulator/options.hpp"
#include "emulator/run_lambda.hpp"

namespace block_attention::cuda::emulator {
namespace {

uint32_t word(uint32_t index) { return shared_base() + index * 4; }

// Which of the two comes first is the schedule's choice.
void expect_race(const std::string& got, const std::string& one, const std::string& other) {
  EXPECT_TRUE(got.find(one) != std::string::npos || got.find(other) != std::string::npos) << got;
}

TEST(EmulatorRace, NeighboursReadAfterSyncwarp) {
  EXPECT_EQ(run_lambda(64,
                       [] {
                         sts(word(threadIdx.x), threadIdx.x);
                         syncwarp();
                         if (lds<uint32_t>(word(threadIdx.x ^ 1)) != (threadIdx.x ^ 1)) {
                           fail("a wrong value", std::source_location::current());
                         }
                       }),
            "");
}

TEST(EmulatorRace, MissingSyncwarp) {
  const std::string got = run_lambda(32, [] {
    sts(word(lane()), lane());
    lds<uint32_t>(word(lane() ^ 1));
  });
  expect_failure(got, "race_test.cpp:");
  expect_failure(got, "lds: ");
}

// Whoever runs first: the value is right whenever all stores come before all loads.
TEST(EmulatorRace, MissingSyncwarpBehindAShuffle) {
  expect_failure(run_lambda(32,
                            [] {
                              sts(word(lane()), lane());
                              shfl_xor(lane(), 1);
                              lds<uint32_t>(word(lane() ^ 1));
                            }),
                 "race, not ordered after the write");
}

TEST(EmulatorRace, SyncwarpOrdersItsOwnWarpAlone) {
  expect_failure(run_lambda(64,
                            [] {
                              sts(word(threadIdx.x), lane());
                              syncwarp();
                              lds<uint32_t>(word(threadIdx.x ^ 32));
                            }),
                 "lds: ");
}

TEST(EmulatorRace, WriteAfterARead) {
  const auto kernel = [](bool barrier) {
    return [barrier] {
      sts(word(threadIdx.x), threadIdx.x);
      syncthreads();
      lds<uint32_t>(word(threadIdx.x ^ 33));
      if (barrier) syncthreads();
      sts(word(threadIdx.x), 7u);
    };
  };
  EXPECT_EQ(run_lambda(64, kernel(true)), "");
  expect_race(run_lambda(64, kernel(false)), "not ordered after the read",
              "not ordered after the write");
}

TEST(EmulatorRace, AllReadersCount) {
  // All 256 threads read one word; seven warps then meet, and one of them writes it.
  for (uint32_t left_out = 0; left_out < 8; ++left_out) {
    expect_race(run_lambda(256,
                           [left_out] {
                             if (threadIdx.x == 0) sts(word(0), 1u);
                             syncthreads();
                             lds<uint32_t>(word(0));
                             if (warp() == left_out) return;
                             bar_sync(1, 224);
                             if (threadIdx.x == (left_out * 32 + 40) % 256) sts(word(0), 2u);
                           }),
                "sts: race, not ordered after the read of thread",
                "lds: race, not ordered after the write of thread");
  }
}

TEST(EmulatorRace, TwoWrites) {
  expect_failure(run_lambda(32, [] { sts(word(lane() / 2), 1u); }), "sts: race");
  EXPECT_EQ(run_lambda(32,
                       [] {
                         if (lane() < 16) sts(word(lane()), 1u);
                         syncwarp();
                         if (lane() >= 16) sts(word(lane() - 16), 1u);
                       }),
            "");
}

TEST(EmulatorRace, NeighbouringHalvesAreApart) {
  EXPECT_EQ(run_lambda(64, [] { sts<uint16_t>(shared_base() + threadIdx.x * 2, 1); }), "");
  expect_failure(run_lambda(64,
                            [] {
                              if (threadIdx.x < 32) sts<uint16_t>(shared_base() + lane() * 4, 1);
                              if (threadIdx.x >= 32) sts<uint32_t>(word(lane()), 1);
                            }),
                 "race");
}

TEST(EmulatorRace, AtomicsDoNotRaceWithEachOther) {
  const auto kernel = [](bool barrier) {
    return [barrier] {
      if (threadIdx.x < 4) sts(word(threadIdx.x), 0u);
      syncthreads();
      atomic_add_shared(word(threadIdx.x % 4), 1);
      if (barrier) syncthreads();
      if (threadIdx.x != 0) return;
      for (uint32_t i = 0; i < 4; ++i) {
        if (lds<uint32_t>(word(i)) != 32 && barrier) {
          fail("a wrong count", std::source_location::current());
        }
      }
    };
  };
  EXPECT_EQ(run_lambda(128, kernel(true)), "");
  // Thread 0 reads before the others count, or after: either way it did not wait.
  expect_race(run_lambda(128, kernel(false)), "lds: race, not ordered after the atomic",
              "atomic_add_shared: race, not ordered after the read");
}

TEST(EmulatorRace, AtomicsRaceWithStores) {
  expect_failure(run_lambda(64,
                            [] {
                              if (threadIdx.x == 0) sts(word(0), 0u);
                              syncthreads();
                              atomic_add_shared(word(0), 1);
                              if (threadIdx.x == 5) sts(word(0), 0u);
                            }),
                 "race, not ordered after the");
}

TEST(EmulatorRace, BarriersOfAPartOrderThatPart) {
  EXPECT_EQ(run_lambda(96,
                       [] {
                         sts(word(threadIdx.x), threadIdx.x);
                         if (warp() >= 2) return;
                         bar_sync(1, 64);
                         lds<uint32_t>(word(threadIdx.x ^ 32));
                       }),
            "");
  expect_failure(run_lambda(96,
                            [] {
                              sts(word(threadIdx.x), threadIdx.x);
                              if (warp() >= 2) return;
                              bar_sync(1, 64);
                              lds<uint32_t>(word(threadIdx.x + 32));
                            }),
                 "lds: ");
}

TEST(EmulatorRace, ProducerAndConsumerNeedTheWayBack) {
  const auto kernel = [](bool back) {
    return [back] {
      for (uint32_t i = 0; i < 3; ++i) {
        if (warp() == 0) {
          if (back && i > 0) bar_sync(2, 64);
          sts(word(lane()), i);
          bar_arrive(1, 64);
        } else {
          bar_sync(1, 64);
          lds<uint32_t>(word(lane()));
          if (back && i < 2) bar_arrive(2, 64);
        }
      }
    };
  };
  EXPECT_EQ(run_lambda(64, kernel(true)), "");
  const uint64_t seed = options().seed;
  for (uint64_t other = 1; other <= 20; ++other) {
    options().seed = other;
    expect_failure(run_lambda(64, kernel(false)), "race");
  }
  options().seed = seed;
}

TEST(EmulatorRace, KnowledgeIsHandedOn) {
  // Warp 0 to 1 by barrier 1, warp 1 to 2 by barrier 2.
  EXPECT_EQ(run_lambda(96,
                       [] {
                         if (warp() == 0) {
                           sts(word(lane()), lane());
                           bar_arrive(1, 64);
                         } else if (warp() == 1) {
                           bar_sync(1, 64);
                           bar_arrive(2, 64);
                         } else {
                           bar_sync(2, 64);
                           lds<uint32_t>(word(31 - lane()));
                         }
                       }),
            "");
}

}  // namespace
}  // namespace block_attention::cuda::emulator
