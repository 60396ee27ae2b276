// The one exception type of the native code. The addon turns it into a typed JavaScript error with
// the same code.
#pragma once

#include <stdexcept>
#include <string>

namespace block_attention {

enum class ErrorCode {
  kInvalidArgument,
  kUnsupported,
  kModelFormat,
  kIo,
  kOutOfMemory,
  kOutOfPages,
  kDeviceUnavailable,
  kDevice,
  kAborted,
  kClosed,
  kInternal,
};

// The spelling that JavaScript sees, e.g. "OUT_OF_PAGES".
const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace block_attention
