// The emulated Device: what happens when, and what of a host's mistakes it finds.
#include <cstring>
#include <vector>

#include "core/error.hpp"
#include "cuda/step_arena.hpp"
#include "device_array.hpp"
#include "emulator/options.hpp"
#include "emulator/run_lambda.hpp"

namespace block_attention::cuda::emulator {
namespace {

using block_attention::cuda::test::DeviceArray;

std::string error_of(const std::function<void()>& call, ErrorCode code = ErrorCode::kDevice) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "";
}

TEST(EmulatedDevice, IsFound) {
  const DeviceSearch search = find_device(0);
  ASSERT_TRUE(search.found.has_value());
  EXPECT_EQ(search.found->name, "emulated GPU");
  EXPECT_EQ(search.found->compute_capability, 90);
  EXPECT_EQ(search.found->shared_memory_bytes, 227u * 1024);
  EXPECT_FALSE(find_device(1).found.has_value());
  EXPECT_NE(error_of([] { Device device(3); }, ErrorCode::kDeviceUnavailable), "");
}

TEST(EmulatedDevice, DoesNothingBeforeSynchronize) {
  Device device(0);
  const Buffer memory = device.allocate(4);
  const Buffer pinned = device.allocate_pinned(8);
  auto* words = static_cast<uint32_t*>(pinned.data());
  words[0] = 5;
  words[1] = 77;
  device.upload(memory.data(), &words[0], 4);
  auto* at = static_cast<uint32_t*>(memory.data());
  enqueue_launch(device, {.threads = 32}, "add", [at] {
    if (threadIdx.x == 0) stg(at, ldg(at) + 1);
  });
  device.download(&words[1], memory.data(), 4);
  EXPECT_EQ(words[1], 0xffffffffu) << "whoever reads now finds poison";
  device.synchronize();
  EXPECT_EQ(words[1], 6u);
}

TEST(EmulatedDevice, FindsStagingThatIsWrittenTooEarly) {
  Device device(0);
  const Buffer memory = device.allocate(64);
  const Buffer pinned = device.allocate_pinned(64);
  std::memset(pinned.data(), 1, 64);
  device.upload(memory.data(), pinned.data(), 64);
  static_cast<char*>(pinned.data())[63] = 2;
  expect_failure(error_of([&] { device.synchronize(); }), "written before its upload ran");
}

TEST(EmulatedDevice, FindsStagingThatIsFreedTooEarly) {
  Device device(0);
  const Buffer memory = device.allocate(64);
  {
    const Buffer pinned = device.allocate_pinned(64);
    device.upload(memory.data(), pinned.data(), 64);
  }
  expect_failure(error_of([&] { device.synchronize(); }), "not pinned host memory");
}

TEST(EmulatedDevice, FindsAnArenaThatIsResetTooEarly) {
  Device device(0);
  StepArena arena(device);
  arena.upload(std::vector<int32_t>{1, 2, 3});
  arena.reset();
  arena.upload(std::vector<int32_t>{1, 2, 4});
  expect_failure(error_of([&] { device.synchronize(); }), "written before its upload ran");
}

TEST(EmulatedDevice, CopiesWithinItsOwnMemoryAlone) {
  Device device(0);
  const DeviceArray<uint32_t> array(device, {1, 2, 3, 4});
  const Buffer pinned = device.allocate_pinned(16);
  uint32_t unpinned[4] = {};
  uint32_t* at = array.data();
  EXPECT_NE(error_of([&] { device.upload(at, unpinned, 16); }), "");
  EXPECT_NE(error_of([&] { device.download(unpinned, at, 16); }), "");
  EXPECT_NE(error_of([&] { device.upload(at + 1, pinned.data(), 16); }), "");
  EXPECT_NE(error_of([&] { device.upload(unpinned, pinned.data(), 16); }), "");
  EXPECT_NE(error_of([&] { device.copy(at, at + 1, 16); }), "");
  EXPECT_NE(error_of([&] { device.clear(at, 20); }), "");
  device.copy(at, at + 2, 8);
  device.clear(at + 1, 4);
  EXPECT_EQ(array.read(), (std::vector<uint32_t>{3, 0, 3, 4}));
}

TEST(EmulatedDevice, AKernelsErrorSticks) {
  Device device(0);
  const Buffer pinned = device.allocate_pinned(4);
  const Buffer memory = device.allocate(4);
  enqueue_launch(device, {.threads = 32}, "bad", [] { ldg(static_cast<const float*>(nullptr)); });
  expect_failure(error_of([&] { device.synchronize(); }), "device_test.cpp:");
  expect_failure(error_of([&] { device.synchronize(); }), "kernel bad, seed ");
  expect_failure(error_of([&] { device.upload(memory.data(), pinned.data(), 4); }), "kernel bad");
  expect_failure(error_of([&] { device.allocate(4); }), "kernel bad");
}

TEST(EmulatedDevice, RefusesShapesThatNoLaunchTakes) {
  Device device(0);
  const auto launched = [&](const LaunchShape& shape) {
    return error_of([&] { enqueue_launch(device, shape, "none", [] {}); });
  };
  EXPECT_NE(launched({.threads = 0}), "");
  EXPECT_NE(launched({.threads = 33}), "");
  EXPECT_NE(launched({.threads = 1056}), "");
  EXPECT_NE(launched({.grid = {1, 65536, 1}}), "");
  EXPECT_NE(launched({.shared_bytes = 227 * 1024 + 16}), "");
  EXPECT_EQ(launched({.grid = {2, 3, 4}, .threads = 1024, .shared_bytes = 227 * 1024}), "");
  device.synchronize();
}

TEST(EmulatedDevice, MemoryEnds) {
  Device device(0);
  const size_t all = device.free_bytes();
  EXPECT_EQ(all, device.properties().memory_bytes);
  {
    const Buffer some = device.allocate(1000);
    EXPECT_EQ(device.free_bytes(), all - 1000);
    EXPECT_NE(error_of([&] { device.allocate(all - 999); }, ErrorCode::kOutOfMemory), "");
  }
  EXPECT_EQ(device.free_bytes(), all);
}

TEST(EmulatedDevice, BuffersMayOutliveIt) {
  Buffer memory;
  Buffer pinned;
  {
    Device device(0);
    memory = device.allocate(100);
    pinned = device.allocate_pinned(100);
    device.upload(memory.data(), pinned.data(), 100);
  }
}

}  // namespace
}  // namespace block_attention::cuda::emulator
