// mbarrier, TMA and wgmma: their values, and what must not be forgotten around them.
#include <cmath>
#include <vector>

#include "device_array.hpp"
#include "emulator/run_lambda.hpp"

namespace block_attention::cuda::emulator {
namespace {

using block_attention::cuda::test::DeviceTensor;

float value_at(uint32_t i) { return static_cast<float>(static_cast<int>((i * 37 + 11) % 61) - 30); }
uint16_t bits_at(uint32_t i) { return narrow<Bf16>(value_at(i)).bits; }

DeviceTensor numbers(Device& device, int64_t rows, int64_t cols) {
  std::vector<float> values;
  for (int64_t i = 0; i < rows * cols; ++i) values.push_back(value_at(static_cast<uint32_t>(i)));
  return {device, DType::kBF16, rows, cols, cols, values};
}

void require(bool condition) {
  if (!condition) fail("a wrong value", std::source_location::current());
}

// ---- TMA and mbarrier

// One box of [64 tokens][1 head][64] out of [100][3][64]: rows past the end are zeros.
TEST(EmulatorHopper, TmaLoadsASwizzledBoxWithARaggedEnd) {
  Device device(0);
  const DeviceTensor x = numbers(device, 100 * 3, 64);
  const TensorMap map = {x.view().data, 3, {64, 3, 100}, {2, 128, 384}, {64, 1, 64}, true};
  EXPECT_EQ(run_lambda(32,
                       [&map] {
                         const uint32_t box = shared_base();
                         const uint32_t bar = box + 8192;
                         if (lane() == 0) {
                           mbar_init(bar, 1);
                           fence_mbar_init();
                           mbar_expect_tx(bar, 8192);
                           tma_load_3d(box, &map, 0, 2, 64, bar);
                         }
                         syncwarp();
                         mbar_wait(bar, 0);
                         for (uint32_t row = lane(); row < 64; row += 32) {
                           for (uint32_t d = 0; d < 64; ++d) {
                             const uint32_t at = box + row * 128 + ((d / 8 ^ (row & 7)) << 4);
                             const uint16_t want =
                                 64 + row < 100 ? bits_at(((64 + row) * 3 + 2) * 64 + d) : 0;
                             require(lds<uint16_t>(at + d % 8 * 2) == want);
                           }
                         }
                       }),
            "");
}

// Two stages, a producer warp and a consumer warp. What is left out is named by `without`.
enum class Without { kNothing, kFullWait, kEmptyWait, kInitBarrier, kHalfTheBytes, kParity };

std::string run_pipeline(Without without) {
  Device device(0);
  const DeviceTensor x = numbers(device, 64 * 6, 64);
  const TensorMap map = {x.view().data, 2, {64, 64 * 6, 0}, {2, 128, 0}, {64, 64, 0}, true};
  return run_lambda(64, [&map, without] {
    const uint32_t base = shared_base();
    const uint32_t full = base + 2 * 8192;
    const uint32_t empty = full + 16;
    if (threadIdx.x == 0) {
      for (uint32_t s = 0; s < 2; ++s) {
        mbar_init(full + s * 8, 1);
        mbar_init(empty + s * 8, 1);
      }
      fence_mbar_init();
    }
    if (without != Without::kInitBarrier) syncthreads();
    for (uint32_t t = 0; t < 6; ++t) {
      const uint32_t s = t % 2;
      const uint32_t phase = t / 2 & 1;
      if (warp() == 1) {
        if (lane() != 0) continue;
        if (t >= 2 && without != Without::kEmptyWait) mbar_wait(empty + s * 8, phase ^ 1);
        mbar_expect_tx(full + s * 8, without == Without::kHalfTheBytes ? 4096 : 8192);
        tma_load_2d(base + s * 8192, &map, 0, static_cast<int>(t * 64), full + s * 8);
      } else {
        if (without != Without::kFullWait) {
          mbar_wait(full + s * 8, without == Without::kParity ? t & 1 : phase);
        }
        const uint32_t row = lane();
        const uint32_t at = base + s * 8192 + row * 128 + ((row & 7) << 4);
        require(lds<uint16_t>(at) == bits_at((t * 64 + row) * 64));
        syncwarp();
        if (lane() == 0) mbar_arrive(empty + s * 8);
      }
    }
  });
}

TEST(EmulatorHopper, PipelineRuns) { EXPECT_EQ(run_pipeline(Without::kNothing), ""); }

TEST(EmulatorHopper, PipelineWithoutTheFullWait) {
  const std::string got = run_pipeline(Without::kFullWait);
  EXPECT_TRUE(got.find("nobody wrote") != std::string::npos ||
              got.find("still writing") != std::string::npos ||
              got.find("its mbarrier was not waited for") != std::string::npos)
      << got;
}

TEST(EmulatorHopper, PipelineWithoutTheEmptyWait) {
  EXPECT_NE(run_pipeline(Without::kEmptyWait), "");
}

TEST(EmulatorHopper, PipelineWithoutABarrierAfterTheInit) {
  const std::string got = run_pipeline(Without::kInitBarrier);
  EXPECT_TRUE(got.find("was not initialised") != std::string::npos ||
              got.find("race") != std::string::npos)
      << got;
}

TEST(EmulatorHopper, PipelineThatExpectsTooFewBytes) {
  EXPECT_NE(run_pipeline(Without::kHalfTheBytes), "");
}

TEST(EmulatorHopper, PipelineWithAWrongParity) { EXPECT_NE(run_pipeline(Without::kParity), ""); }

TEST(EmulatorHopper, MbarrierMisuse) {
  expect_failure(run_lambda(32, [] { mbar_wait(shared_base(), 0); }), "was not initialised");
  expect_failure(run_lambda(32,
                            [] {
                              if (lane() != 0) return;
                              mbar_init(shared_base(), 2);
                              mbar_expect_tx(shared_base(), 16);
                              mbar_arrive(shared_base());
                              mbar_arrive(shared_base());
                            }),
                 "more arrivals than");
}

TEST(EmulatorHopper, TmaMisuse) {
  Device device(0);
  const DeviceTensor x = numbers(device, 64, 64);
  const auto load = [&](const TensorMap& map, uint32_t offset) {
    return run_lambda(32, [&map, offset] {
      if (lane() != 0) return;
      const uint32_t bar = shared_base() + 16384;
      mbar_init(bar, 1);
      mbar_expect_tx(bar, 8192);
      tma_load_2d(shared_base() + offset, &map, 0, 0, bar);
      mbar_wait(bar, 0);
    });
  };
  const TensorMap good = {x.view().data, 2, {64, 64, 0}, {2, 128, 0}, {64, 64, 0}, true};
  EXPECT_EQ(load(good, 0), "");
  expect_failure(load(good, 128), "TMA: misaligned");
  TensorMap wide = good;
  wide.box[0] = 128;
  expect_failure(load(wide, 0), "more than the 128 bytes");
  TensorMap outside = good;
  outside.size[1] = 65;
  outside.box[1] = 65;
  expect_failure(load(outside, 0), "TMA: global address out of bounds");
}

// ---- wgmma

constexpr uint32_t swizzled(uint32_t address) { return address ^ ((address >> 7 & 7) << 4); }

// d[64][64] = a[64][16] b[16][64] with A in registers and B stored [n][k]; what is left out is
// named.
enum class Missing { kNothing, kProxyFence, kRegisterFence, kWait, kBarrier };

std::string run_product(Missing missing) {
  return run_lambda(128, [missing] {
    const uint32_t base = shared_base();
    const uint32_t row0 = warp() * 16 + lane() / 4;
    const uint32_t t = lane() % 4 * 2;
    for (uint32_t i = threadIdx.x; i < 64 * 16; i += 128) {
      const uint32_t n = i / 16;
      const uint32_t k = i % 16;
      sts(swizzled(base + n * 128 + k * 2), bits_at(5000 + n * 16 + k));
    }
    if (missing != Missing::kProxyFence) fence_proxy_async();
    if (missing != Missing::kBarrier) syncthreads();
    uint32_t a[4];
    for (uint32_t r = 0; r < 4; ++r) {
      const uint32_t at = (row0 + (r & 1) * 8) * 16 + t + (r >> 1) * 8;
      a[r] = bits_at(at) | uint32_t{bits_at(at + 1)} << 16;
    }
    float d[32];
    for (float& x : d) x = 0;
    if (missing != Missing::kRegisterFence) wgmma_fence(d);
    wgmma_m64k16<Bf16, 0, 64>(d, a, wgmma_descriptor(base, 16, 1024), false);
    wgmma_commit();
    if (missing != Missing::kWait) wgmma_wait<0>(d);
    for (uint32_t e = 0; e < 32; ++e) {
      const uint32_t row = row0 + (e >> 1 & 1) * 8;
      const uint32_t col = e / 4 * 8 + t + (e & 1);
      float want = 0;
      for (uint32_t k = 0; k < 16; ++k) {
        want += value_at(row * 16 + k) * value_at(5000 + col * 16 + k);
      }
      require(missing == Missing::kWait || d[e] == want);
    }
  });
}

TEST(EmulatorHopper, WgmmaMultiplies) { EXPECT_EQ(run_product(Missing::kNothing), ""); }

TEST(EmulatorHopper, WgmmaWithoutItsFences) {
  expect_failure(run_product(Missing::kProxyFence), "no fence_proxy_async after the write");
  expect_failure(run_product(Missing::kRegisterFence), "wgmma without wgmma_fence");
  expect_failure(run_product(Missing::kWait), "ends with wgmma in flight");
  EXPECT_NE(run_product(Missing::kBarrier), "");
}

// Both operands from shared memory, B as V is stored ([k][n]), two products on one accumulator.
std::string run_shared_product(bool write_early) {
  return run_lambda(128, [write_early] {
    const uint32_t a = shared_base();
    const uint32_t b = a + 8192;
    for (uint32_t i = threadIdx.x; i < 64 * 32; i += 128) {
      const uint32_t m = i / 32;
      const uint32_t k = i % 32;
      sts(swizzled(a + m * 128 + k * 2), bits_at(i));
      sts(swizzled(b + k * 128 + m * 2), bits_at(9000 + i));
    }
    fence_proxy_async();
    syncthreads();
    float d[32];
    wgmma_fence(d);
    for (uint32_t step = 0; step < 2; ++step) {
      wgmma_m64k16<Bf16, 1, 64>(d, wgmma_descriptor(a + step * 32, 16, 1024),
                                wgmma_descriptor(b + step * 2048, 8192, 1024), step > 0);
    }
    wgmma_commit();
    if (write_early && threadIdx.x == 0) sts(swizzled(a), uint16_t{0});
    wgmma_wait<0>(d);
    for (uint32_t e = 0; e < 32; ++e) {
      const uint32_t row = warp() * 16 + lane() / 4 + (e >> 1 & 1) * 8;
      const uint32_t col = e / 4 * 8 + lane() % 4 * 2 + (e & 1);
      float want = 0;
      for (uint32_t k = 0; k < 32; ++k) {
        want += value_at(row * 32 + k) * value_at(9000 + col * 32 + k);
      }
      require(d[e] == want);
    }
  });
}

TEST(EmulatorHopper, WgmmaFromSharedMemory) {
  EXPECT_EQ(run_shared_product(false), "");
  expect_failure(run_shared_product(true), "writes what wgmma is still reading");
}

}  // namespace
}  // namespace block_attention::cuda::emulator
