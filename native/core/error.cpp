#include "core/error.hpp"

namespace block_attention {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case ErrorCode::kUnsupported:
      return "UNSUPPORTED";
    case ErrorCode::kModelFormat:
      return "MODEL_FORMAT";
    case ErrorCode::kIo:
      return "IO";
    case ErrorCode::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case ErrorCode::kOutOfPages:
      return "OUT_OF_PAGES";
    case ErrorCode::kDeviceUnavailable:
      return "DEVICE_UNAVAILABLE";
    case ErrorCode::kDevice:
      return "DEVICE";
    case ErrorCode::kAborted:
      return "ABORTED";
    case ErrorCode::kClosed:
      return "CLOSED";
    case ErrorCode::kInternal:
      return "INTERNAL";
  }
  return "INTERNAL";
}

}  // namespace block_attention
