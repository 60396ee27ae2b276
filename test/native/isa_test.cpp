#include "cpu/isa.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "cpu/int8_format.hpp"

namespace block_attention {
namespace {

constexpr const char* kVariable = "BLOCK_ATTENTION_ISA";

// The tests themselves may have been asked for an instruction set.
class IsaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* asked = std::getenv(kVariable)) before_ = asked;
  }
  void TearDown() override {
    if (before_) {
      setenv(kVariable, before_->c_str(), 1);
    } else {
      unsetenv(kVariable);
    }
  }

 private:
  std::optional<std::string> before_;
};

TEST_F(IsaTest, EachHasItsOwnName) {
  std::set<std::string> names;
  for (const Isa isa : supported_isas()) names.insert(isa_name(isa));
  EXPECT_EQ(names.size(), supported_isas().size());
}

TEST_F(IsaTest, TheBestOneUnlessAnotherIsAskedFor) {
  const Isa best = best_isa(supported_isas(), has_slow_bf16_dots());
  unsetenv(kVariable);
  EXPECT_EQ(default_isa(), best);
  setenv(kVariable, "", 1);
  EXPECT_EQ(default_isa(), best);
  for (const Isa isa : supported_isas()) {
    setenv(kVariable, isa_name(isa), 1);
    EXPECT_EQ(default_isa(), isa);
  }
}

TEST(BestIsa, IsTheLastOneButForSlowDotProducts) {
  std::vector<Isa> supported;
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512}) {
    supported.push_back(isa);
    EXPECT_EQ(best_isa(supported, false), isa);
    EXPECT_EQ(best_isa(supported, true), isa);
  }
  supported.push_back(Isa::kAvx512Bf16);
  EXPECT_EQ(best_isa(supported, false), Isa::kAvx512Bf16);
  EXPECT_EQ(best_isa(supported, true), Isa::kAvx512);
  supported.push_back(Isa::kAmxBf16);
  EXPECT_EQ(best_isa(supported, true), Isa::kAmxBf16);
}

TEST_F(IsaTest, WithoutRoundingToBf16WhereFloat32IsAskedFor) {
  for (const Isa isa : supported_isas()) {
    setenv(kVariable, isa_name(isa), 1);
    EXPECT_FALSE(has_bf16_dots(default_isa(true)));
    EXPECT_EQ(default_isa(true) == isa, !has_bf16_dots(isa));
  }
}

TEST_F(IsaTest, RefusesWhatTheCpuLacks) {
  setenv(kVariable, "avx1024", 1);
  try {
    default_isa();
    FAIL() << "no such instruction set";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("avx1024"), std::string::npos);
  }
}

#if defined(__x86_64__)
// So that a CPU with more can stand in for one with AVX2 alone.
TEST_F(IsaTest, PlainAvx2TakesNothingOfVnni) {
  EXPECT_EQ(best_int8_dot(Isa::kAvx2), Int8Dot::kPairs);
  EXPECT_EQ(best_int8_dot(Isa::kAvxVnni), Int8Dot::kQuads);
}
#endif

}  // namespace
}  // namespace block_attention
