// How the emulation behaves, and what it has seen. For tests; a launch copies the options as it
// runs.
#pragma once

#include <cstdint>

#include "cuda/device.hpp"

namespace block_attention::cuda::emulator {

struct Options {
  // Of the order of blocks, warps, lanes and asynchronous copies. A device mixes in the number of
  // the launch. BLOCK_ATTENTION_EMULATOR_SEED sets it from outside.
  uint64_t seed = 1;
  // Asynchronous copies move their bytes as late as they may; otherwise at once. Either way nobody
  // may look before they have arrived.
  bool late_copies = true;
  // From so many launches of a device on, it is lost: nothing on it runs any more. 0: never.
  uint64_t lost_at_launch = 0;
};

struct Statistics {
  uint64_t switches = 0;                 // of fibers
  uint64_t ldmatrix_bank_conflicts = 0;  // rows of a matrix that had to wait for another
};

// Since the process began, of all devices.
struct Counters {
  uint64_t allocations = 0;  // of device and of pinned memory
  uint64_t synchronizations = 0;
  uint64_t launches = 0;
};

Options& options();
// Of the last launch.
Statistics& statistics();
Counters& counters();
// What find_device() finds. Changes count for devices made later.
DeviceProperties& device_properties();

}  // namespace block_attention::cuda::emulator
