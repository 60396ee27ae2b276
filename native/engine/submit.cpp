// Engine::submit: sequences are checked, get their pages, and are taken up; all of a call, or none.
#include <algorithm>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "engine/engine.hpp"

namespace block_attention {

void Engine::check_token(int32_t token) const {
  if (token < 0 || token >= config_.vocab_size) {
    throw Error(ErrorCode::kInvalidArgument, "token " + std::to_string(token) +
                                                 " is outside the vocabulary of " +
                                                 std::to_string(config_.vocab_size));
  }
}

void Engine::check(const SequenceSpec& spec) const {
  if (spec.tokens.empty())
    throw Error(ErrorCode::kInvalidArgument, "a sequence needs at least one token");
  for (int32_t token : spec.tokens) check_token(token);
  int64_t capacity = static_cast<int64_t>(spec.tokens.size());
  if (spec.generation) {
    if (spec.generation->max_tokens < 1)
      throw Error(ErrorCode::kInvalidArgument, "maxTokens must be at least 1");
    for (int32_t token : spec.generation->history) check_token(token);
    for (const auto& [token, bias] : spec.generation->sampling.logit_bias) check_token(token);
    capacity += spec.generation->max_tokens;
  }
  if (spec.offset < 0 || spec.offset + capacity > max_positions_) {
    throw Error(ErrorCode::kInvalidArgument, "sequence " + std::to_string(spec.id) +
                                                 " ends at position " +
                                                 std::to_string(spec.offset + capacity) +
                                                 ", the most is " + std::to_string(max_positions_));
  }
}

// Of earlier calls, or of this one; null if there is none.
Engine::SequencePtr Engine::find(int64_t id, const std::vector<SequencePtr>& batch) const {
  const auto known = sequences_.find(id);
  if (known != sequences_.end()) return known->second;
  const auto same_call = std::find_if(batch.begin(), batch.end(),
                                      [id](const SequencePtr& s) { return s->id() == id; });
  return same_call != batch.end() ? *same_call : nullptr;
}

std::vector<Segment> Engine::resolve(const SequenceSpec& spec,
                                     const std::vector<SequencePtr>& batch) const {
  std::vector<Segment> segments;
  segments.reserve(spec.segments.size());
  int64_t end = 0;
  for (const SegmentSpec& segment : spec.segments) {
    const SequencePtr source = find(segment.id, batch);
    if (source == nullptr) {
      throw Error(ErrorCode::kInvalidArgument, "sequence " + std::to_string(spec.id) +
                                                   " sees block " + std::to_string(segment.id) +
                                                   ", which does not exist");
    }
    if (segment.offset < end) {
      throw Error(ErrorCode::kInvalidArgument,
                  "segments must be in key order and must not overlap");
    }
    end = int64_t{segment.offset} + source->own()->tokens;
    segments.push_back({source->own(), segment.offset});
  }
  if (spec.offset < end)
    throw Error(ErrorCode::kInvalidArgument, "the own block must lie behind its segments");
  return segments;
}

std::shared_ptr<BlockProgress> Engine::resolve_fork(const SequenceSpec& spec,
                                                    const std::vector<Segment>& segments,
                                                    const std::vector<SequencePtr>& batch) const {
  if (!spec.fork_of) return nullptr;
  const SequencePtr source = find(*spec.fork_of, batch);
  const auto refuse = [&](const char* why) {
    throw Error(ErrorCode::kInvalidArgument, "sequence " + std::to_string(spec.id) +
                                                 " cannot be a fork of sequence " +
                                                 std::to_string(*spec.fork_of) + ", " + why);
  };
  if (source == nullptr) refuse("which does not exist");
  if (!source->has_prompt_of(spec, segments)) {
    refuse("whose prompt is another: give the same tokens, offset and segments, or no fork");
  }
  return source->own();
}

void Engine::submit(std::vector<SequenceSpec> specs) {
  const std::lock_guard lock(mutex_);
  if (stop_) throw Error(ErrorCode::kClosed, "the engine is closed");
  std::vector<SequencePtr> batch;
  batch.reserve(specs.size());
  for (SequenceSpec& spec : specs) {
    check(spec);
    const bool in_batch =
        std::any_of(batch.begin(), batch.end(), [&](const auto& s) { return s->id() == spec.id; });
    if (in_batch || sequences_.contains(spec.id)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "sequence id " + std::to_string(spec.id) + " is in use");
    }
    std::vector<Segment> segments = resolve(spec, batch);
    std::shared_ptr<BlockProgress> source = resolve_fork(spec, segments, batch);
    const auto tokens = static_cast<int32_t>(spec.tokens.size());
    const int32_t capacity = tokens + (spec.generation ? spec.generation->max_tokens : 0);
    auto own = std::make_shared<BlockProgress>(pool_, tokens, capacity);
    batch.push_back(std::make_shared<Sequence>(std::move(spec), std::move(segments), std::move(own),
                                               std::move(source)));
  }
  take_up(batch);
  stats_.running += static_cast<int32_t>(batch.size());
  stats_.unreported += static_cast<int32_t>(batch.size());
  work_.notify_one();
}

void Engine::take_up(const std::vector<SequencePtr>& batch) {
  const auto unfinished = static_cast<size_t>(stats_.running) + batch.size();
  if (inbox_.capacity() < unfinished) inbox_.reserve(2 * unfinished);
  size_t known = 0;
  try {
    for (; known < batch.size(); ++known) sequences_.emplace(batch[known]->id(), batch[known]);
  } catch (...) {
    for (size_t i = 0; i < known; ++i) sequences_.erase(batch[i]->id());
    throw;
  }
  inbox_.insert(inbox_.end(), batch.begin(), batch.end());
}

}  // namespace block_attention
