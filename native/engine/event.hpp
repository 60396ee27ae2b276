// What the engine reports about a sequence. Times are milliseconds of std::chrono::steady_clock.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace block_attention {

enum class Finish { kNone, kEncoded, kStop, kLength, kAborted, kError };

const char* finish_name(Finish finish);

struct SequenceEvent {
  int64_t id = 0;
  std::vector<int32_t> tokens;
  std::vector<double> times;
  std::vector<float> logprobs;      // one per token, if asked for
  std::vector<int32_t> top_tokens;  // top_logprobs entries per token
  std::vector<float> top_logprobs;
  Finish finish = Finish::kNone;
  ErrorCode error_code = ErrorCode::kInternal;  // with kError
  std::string error_message;
  bool first = false;  // the following three are set: with the first token, or with kEncoded
  double started_at = 0;
  double finished_at = 0;
  double flops = 0;
};

// Called on the engine thread after each step that has something to report, and whenever a sequence
// ended (with no events if it was released). Must not throw.
using EventSink = std::function<void(std::vector<SequenceEvent> events)>;

}  // namespace block_attention
