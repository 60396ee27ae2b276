// Every planted bug is found, whatever the schedule, and nothing is found in the kernels as they
// are.
#include "planted/planted_bug.hpp"

#include <regex>

#include "emulator/options.hpp"

namespace block_attention::cuda::test {
namespace {

class PlantedBugTest : public ::testing::TestWithParam<PlantedBug> {};
INSTANTIATE_TEST_SUITE_P(All, PlantedBugTest, ::testing::ValuesIn(planted_bugs()),
                         [](const ::testing::TestParamInfo<PlantedBug>& info) {
                           return info.param.name;
                         });

TEST_P(PlantedBugTest, IsFound) {
  const PlantedBug& bug = GetParam();
  const uint64_t before = emulator::options().seed;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    emulator::options().seed = seed;
    const std::string said = bug.find();
    if (bug.found_by.empty()) {
      EXPECT_EQ(said, "") << "seed " << seed;
    } else {
      EXPECT_TRUE(std::regex_search(said, std::regex(bug.found_by)))
          << "seed " << seed << ", said \"" << said << "\"";
    }
  }
  emulator::options().seed = before;
}

TEST(PlantedBugs, EveryKernelIsAlsoRunWithoutOne) {
  int sound = 0;
  for (const PlantedBug& bug : planted_bugs()) sound += bug.found_by.empty() ? 1 : 0;
  EXPECT_EQ(sound, 6);
  EXPECT_GE(planted_bugs().size(), 50u);
}

}  // namespace
}  // namespace block_attention::cuda::test
