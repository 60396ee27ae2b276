#include "core/error.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace block_attention::test {
namespace {

TEST(ErrorTest, EveryCodeHasItsOwnName) {
  const ErrorCode all[] = {ErrorCode::kInvalidArgument, ErrorCode::kUnsupported,
                           ErrorCode::kModelFormat,     ErrorCode::kIo,
                           ErrorCode::kOutOfMemory,     ErrorCode::kOutOfPages,
                           ErrorCode::kAborted,         ErrorCode::kClosed,
                           ErrorCode::kInternal};
  std::set<std::string> names;
  for (ErrorCode code : all) names.insert(error_code_name(code));
  EXPECT_EQ(names.size(), std::size(all));
  EXPECT_STREQ(error_code_name(ErrorCode::kOutOfPages), "OUT_OF_PAGES");
}

TEST(ErrorTest, CarriesCodeAndMessage) {
  try {
    throw Error(ErrorCode::kIo, "no such file: x");
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "no such file: x");
    EXPECT_EQ(dynamic_cast<const Error&>(error).code(), ErrorCode::kIo);
  }
}

}  // namespace
}  // namespace block_attention::test
