// A kernel with a bug in it (cmake/planted.cmake), or one without.
#pragma once

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "cuda/device.hpp"

namespace block_attention::cuda::test {

struct PlantedBug {
  std::string name;
  // A regular expression for what is said of it; empty if nothing may be said.
  std::string found_by;
  // Runs the kernel on a device of its own: "", or what is wrong.
  std::string (*find)();
};

inline void PrintTo(const PlantedBug& bug, std::ostream* out) { *out << bug.name; }

inline std::vector<PlantedBug>& planted_bugs() {
  static std::vector<PlantedBug> bugs;
  return bugs;
}

// What a device, or a check of values, says.
inline std::string said_by(const std::function<std::string(Device&)>& run) {
  Device device(0);
  std::string said;
  testing::TestPartResultArray failures;
  {
    const testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    try {
      said = run(device);
    } catch (const Error& error) {
      said = error.what();
    }
  }
  for (int i = 0; i < failures.size(); ++i) said += failures.GetTestPartResult(i).message();
  return said;
}

}  // namespace block_attention::cuda::test
