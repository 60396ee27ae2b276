// What the engine reports about a sequence. Times are milliseconds of std::chrono::steady_clock.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
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
  bool first = false;  // the following are set: with the first token, or with kEncoded
  double started_at = 0;
  double finished_at = 0;
  double flops = 0;
  int32_t copied_rows = 0;  // of the own block, not computed
};

// A list, so that an event that exists is handed on without allocating: when memory has run out,
// that can still be said.
using EventList = std::list<SequenceEvent>;

// Appends `news` to `events`. A report of a sequence is joined to its last one, so that a reader
// who is late finds one event per sequence, not one per token. Never throws: what there is no
// memory to join stays an event of its own.
void append_events(EventList& events, EventList news) noexcept;

// Called on the engine thread after each step that has something to report, and whenever a sequence
// ended (with no events if it was released); once more, with no events, when nothing is left to
// report (EngineStats::unreported). Must not throw, also when memory has run out.
using EventSink = std::function<void(EventList events)>;

}  // namespace block_attention
