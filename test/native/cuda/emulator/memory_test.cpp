// Accesses that a GPU faults on or answers with garbage.
#include "device_array.hpp"
#include "emulator/options.hpp"
#include "emulator/run_lambda.hpp"

namespace block_attention::cuda::emulator {
namespace {

using block_attention::cuda::test::DeviceArray;

TEST(EmulatorMemory, SharedBounds) {
  expect_failure(run_lambda(32, [] { sts(shared_base() + 32768, 1u); }), "shared address out of");
  expect_failure(run_lambda(32, [] { sts(shared_base() - 4, 1u); }), "shared address out of");
  expect_failure(run_lambda(32, [] { sts(shared_base() + 32760, U32x4{}); }), "misaligned");
  expect_failure(run_lambda({.threads = 32}, [] { sts(shared_base(), 1u); }), "out of bounds");
}

TEST(EmulatorMemory, SharedAlignment) {
  expect_failure(run_lambda(32, [] { sts(shared_base() + 2, 1u); }), "sts: misaligned");
  expect_failure(run_lambda(32, [] { lds<U32x2>(shared_base() + 4); }), "lds: misaligned");
  expect_failure(run_lambda(32, [] { cp_async16(shared_base() + 8, nullptr, false); }),
                 "cp_async16: misaligned");
  expect_failure(run_lambda(32,
                            [] {
                              uint32_t r[4];
                              ldmatrix_x4(r, shared_base() + 8);
                            }),
                 "ldmatrix_x4: misaligned");
}

TEST(EmulatorMemory, UninitialisedSharedMemory) {
  expect_failure(run_lambda(32, [] { lds<uint32_t>(shared_base() + 400); }),
                 "reads shared memory that nobody wrote, offset 400");
  expect_failure(run_lambda(32, [] { atomic_add_shared(shared_base(), 1); }), "nobody wrote");
  // What an earlier block wrote is gone.
  static int threads;
  threads = 0;
  expect_failure(run_lambda({.grid = {2}, .threads = 32, .shared_bytes = 128},
                            [] {
                              if (threads++ < 32) {
                                sts(shared_base() + lane() * 4, 1u);
                              } else {
                                lds<uint32_t>(shared_base() + lane() * 4);
                              }
                            }),
                 "nobody wrote");
}

TEST(EmulatorMemory, GlobalBoundsAreThoseOfOneAllocation) {
  Device device(0);
  const DeviceArray<uint32_t> first(device, 10);
  const DeviceArray<uint32_t> second(device, 10);
  const uint32_t* at = first.data();
  uint32_t host = 0;
  EXPECT_EQ(run_lambda(32, [=] { ldg(at + lane() % 10); }), "");
  expect_failure(run_lambda(32, [=] { ldg(at + 10); }), "ldg: global address out of bounds");
  expect_failure(run_lambda(32, [=] { ldg(at - 1); }), "ldg: global address out of bounds");
  expect_failure(run_lambda(32, [=] { ldg(reinterpret_cast<const U32x4*>(at) + 2); }),
                 "out of bounds");
  expect_failure(run_lambda(32, [&] { stg(&host, 1u); }), "stg: global address out of bounds");
  expect_failure(run_lambda(32, [=] { ldg_streaming(at + 11); }), "ldg_streaming: global");
  expect_failure(run_lambda(32, [] { ldg(static_cast<const float*>(nullptr)); }), "out of bounds");
}

TEST(EmulatorMemory, GlobalAlignment) {
  Device device(0);
  const DeviceArray<char> bytes(device, 64);
  const char* at = bytes.data();
  expect_failure(run_lambda(32, [=] { ldg(reinterpret_cast<const uint32_t*>(at + 2)); }),
                 "ldg: misaligned global address");
  expect_failure(run_lambda(32, [=] { ldg(reinterpret_cast<const U32x4*>(at + 8)); }),
                 "misaligned");
  expect_failure(run_lambda(32, [=] { cp_async16(shared_base(), at + 8, true); }),
                 "cp_async16: misaligned");
}

// ---- races in global memory

TEST(EmulatorGlobalRace, BlocksOfOneLaunch) {
  Device device(0);
  const DeviceArray<uint32_t> array(device, 64);
  uint32_t* at = array.data();
  const LaunchShape two = {.grid = {2}, .threads = 32};
  EXPECT_EQ(run_lambda(two, [=] { stg(at + blockIdx.x * 32 + lane(), 1u); }), "");
  EXPECT_EQ(run_lambda(two, [=] { ldg(at + (blockIdx.x ^ 1) * 32 + lane()); }), "")
      << "what an earlier launch wrote is there for all";
  expect_failure(run_lambda(two, [=] { stg(at + lane(), 1u); }),
                 "stg: race with another block of this launch");
  expect_failure(run_lambda(two,
                            [=] {
                              stg(at + blockIdx.x * 32 + lane(), 1u);
                              ldg(at + (blockIdx.x ^ 1) * 32 + lane());
                            }),
                 "ldg: race with another block of this launch");
}

TEST(EmulatorGlobalRace, ThreadsOfOneBlock) {
  Device device(0);
  const DeviceArray<uint32_t> array(device, 64);
  uint32_t* at = array.data();
  const auto kernel = [at](bool barrier) {
    return [=] {
      stg(at + threadIdx.x, threadIdx.x);
      if (barrier) syncthreads();
      ldg(at + (threadIdx.x ^ 33));
    };
  };
  EXPECT_EQ(run_lambda(64, kernel(true)), "");
  expect_failure(run_lambda(64, kernel(false)), "ldg: race in global memory, not ordered after");
  expect_failure(run_lambda(64, [=] { stg(at + threadIdx.x / 2, 1u); }),
                 "stg: race in global memory");
  EXPECT_EQ(
      run_lambda(64, [=] { stg(reinterpret_cast<uint16_t*>(at) + threadIdx.x, uint16_t{1}); }), "")
      << "neighbouring halves are apart";
  expect_failure(run_lambda(64,
                            [=] {
                              stg(at + threadIdx.x, 1u);
                              cp_async16(shared_base() + threadIdx.x * 16,
                                         at + (threadIdx.x ^ 33) / 4 * 4, true);
                              cp_async_commit();
                              cp_async_wait<0>();
                            }),
                 "cp_async16: race in global memory");
}

TEST(EmulatorGlobalRace, StreamingLoadsOfWhatTheLaunchWrites) {
  Device device(0);
  const DeviceArray<uint32_t> array(device, 32);
  uint32_t* at = array.data();
  expect_failure(run_lambda(32,
                            [=] {
                              stg(at + lane(), 1u);
                              ldg_streaming(at + lane());
                            }),
                 "ldg_streaming: reads what this launch writes");
}

TEST(EmulatorMemory, FreedMemoryIsOutOfBounds) {
  Device device(0);
  const uint32_t* at = nullptr;
  {
    const DeviceArray<uint32_t> array(device, 10);
    at = array.data();
  }
  expect_failure(run_lambda(32, [=] { ldg(at); }), "out of bounds");
}

TEST(EmulatorMemory, NewMemoryIsPoison) {
  Device device(0);
  const Buffer buffer = device.allocate(64);
  uint32_t words[16];
  test::read_device(device, words, buffer.data(), sizeof words);
  for (const uint32_t word : words) EXPECT_EQ(word, 0xffffffffu);
}

// ---- cp.async

TEST(EmulatorCopies, AnInvalidCopyMayPointAnywhere) {
  EXPECT_EQ(run_lambda(32,
                       [] {
                         cp_async16(shared_base() + lane() * 16,
                                    reinterpret_cast<const void*>(uintptr_t{0x1230}), false);
                         cp_async_commit();
                         cp_async_wait<0>();
                         const U32x4 zeros = lds<U32x4>(shared_base() + lane() * 16);
                         if ((zeros.x[0] | zeros.x[1] | zeros.x[2] | zeros.x[3]) != 0) {
                           fail("no zeros", std::source_location::current());
                         }
                       }),
            "");
  expect_failure(run_lambda(32,
                            [] {
                              cp_async16(shared_base() + lane() * 16,
                                         reinterpret_cast<const void*>(uintptr_t{0x1230}), true);
                            }),
                 "cp_async16: global address out of bounds");
}

// Late or early, with the same findings.
class EmulatorCopiesTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { options().late_copies = GetParam(); }
  void TearDown() override { options().late_copies = true; }

  Device device_{0};
  DeviceArray<char> source_{device_, 32768};
};
INSTANTIATE_TEST_SUITE_P(LateOrEarly, EmulatorCopiesTest, ::testing::Bool());

uint32_t slot(uint32_t index) { return shared_base() + index * 16; }

TEST_P(EmulatorCopiesTest, WaitsAndBarriersOrder) {
  const char* from = source_.data();
  EXPECT_EQ(run_lambda(128,
                       [=] {
                         cp_async16(slot(threadIdx.x), from + threadIdx.x * 16, true);
                         cp_async_commit();
                         cp_async_wait<0>();
                         lds<U32x4>(slot(threadIdx.x));
                         syncthreads();
                         lds<U32x4>(slot(threadIdx.x ^ 77));
                       }),
            "");
}

TEST_P(EmulatorCopiesTest, ReadInFlight) {
  const char* from = source_.data();
  const auto kernel = [from](bool own) {
    return [=] {
      cp_async16(slot(threadIdx.x), from, true);
      cp_async_commit();
      cp_async16(slot(threadIdx.x + 128), from, true);
      cp_async_commit();
      cp_async_wait<1>();  // the second group is still on its way
      syncthreads();
      lds<U32x4>(slot(threadIdx.x ^ 1));
      lds<U32x4>(slot(threadIdx.x + (own ? 128 : 0)));
      cp_async_wait<0>();
    };
  };
  EXPECT_EQ(run_lambda(128, kernel(false)), "");
  expect_failure(run_lambda(128, kernel(true)), "an asynchronous copy is still writing");
}

TEST_P(EmulatorCopiesTest, WriteInFlight) {
  const char* from = source_.data();
  expect_failure(run_lambda(32,
                            [=] {
                              cp_async16(slot(lane()), from, true);
                              sts(slot(lane()), 1u);
                            }),
                 "sts: touches what an asynchronous copy is still writing");
}

TEST_P(EmulatorCopiesTest, AWaitSpeaksForOneThreadAlone) {
  const char* from = source_.data();
  const std::string got = run_lambda(64, [=] {
    cp_async16(slot(threadIdx.x), from, true);
    cp_async_commit();
    cp_async_wait<0>();
    lds<U32x4>(slot(threadIdx.x ^ 32));
  });
  EXPECT_NE(got, "");
}

TEST_P(EmulatorCopiesTest, CopyOverWhatIsBeingRead) {
  const char* from = source_.data();
  const auto kernel = [from](bool barrier) {
    return [=] {
      for (int round = 0; round < 2; ++round) {
        cp_async16(slot(threadIdx.x), from, true);
        cp_async_commit();
        cp_async_wait<0>();
        syncthreads();
        uint32_t r[4];
        ldmatrix_x4(r, slot(threadIdx.x ^ 32));
        if (barrier) syncthreads();
      }
    };
  };
  EXPECT_EQ(run_lambda(64, kernel(true)), "");
  expect_failure(run_lambda(64, kernel(false)), "race, not ordered after the ");
}

TEST_P(EmulatorCopiesTest, AThreadEndsWithACopyInFlight) {
  const char* from = source_.data();
  expect_failure(run_lambda(32, [=] { cp_async16(slot(lane()), from, true); }),
                 "ends with this copy in flight");
  expect_failure(run_lambda(32,
                            [=] {
                              cp_async16(slot(lane()), from, true);
                              cp_async_commit();
                              cp_async_wait<1>();
                            }),
                 "ends with this copy in flight");
  EXPECT_EQ(run_lambda(32, [] { cp_async_commit(); }), "") << "an empty group is no copy";
}

// ---- ldmatrix

TEST(EmulatorLdmatrix, CountsBankConflicts) {
  const auto conflicts = [](uint32_t stride) {
    EXPECT_EQ(run_lambda(32,
                         [stride] {
                           sts(shared_base() + lane() * stride, U32x4{});
                           syncwarp();
                           uint32_t r[4];
                           ldmatrix_x4(r, shared_base() + lane() * stride);
                         }),
              "");
    return statistics().ldmatrix_bank_conflicts;
  };
  EXPECT_EQ(conflicts(128), 28u);
  EXPECT_EQ(conflicts(16), 0u);
  EXPECT_EQ(conflicts(144), 0u);
}

}  // namespace
}  // namespace block_attention::cuda::emulator
