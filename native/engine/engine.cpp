#include "engine/engine.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>
#include <limits>
#include <new>
#include <system_error>
#include <utility>

namespace block_attention {
namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

int32_t pages_in(size_t cache_bytes, size_t page_bytes) {
  const size_t pages = cache_bytes / page_bytes;
  if (pages == 0) {
    throw Error(ErrorCode::kInvalidArgument, "cacheBytes is " + std::to_string(cache_bytes) +
                                                 ", one page alone takes " +
                                                 std::to_string(page_bytes) + " bytes; raise it");
  }
  return static_cast<int32_t>(std::min<size_t>(pages, std::numeric_limits<int32_t>::max()));
}

}  // namespace

Engine::Engine(ModelConfig config, std::unique_ptr<Backend> backend, ModelWeights weights,
               const EngineOptions& options, EventSink sink)
    : config_(std::move(config)),
      backend_(std::move(backend)),
      weights_(std::move(weights)),
      sink_(std::move(sink)),
      max_batch_tokens_(options.max_batch_tokens),
      max_positions_(options.max_positions) {
  if (max_batch_tokens_ < 1)
    throw Error(ErrorCode::kInvalidArgument, "maxBatchTokens must be at least 1");
  if (options.profile) {
    op_times_ = std::make_unique<OpTimes>();
    backend_ = make_profiled_backend(std::move(backend_), weights_, *op_times_);
  }
  const KvShape shape = {config_.num_layers, config_.num_kv_heads, config_.head_dim,
                         backend_->kv_dtype(options.kv_dtype)};
  const size_t page_bytes = backend_->kv_page_bytes(shape);
  const int32_t pages = pages_in(options.cache_bytes, page_bytes);
  kv_ = backend_->make_kv_storage(shape, pages);
  pool_ = std::make_shared<PagePool>(pages, kv_->page_tokens());
  forward_ = std::make_unique<Forward>(config_, weights_, *backend_, *kv_, max_batch_tokens_);
  info_ = {backend_->description(),
           options.device_problem,
           options.weights_cache,
           backend_->numerics(),
           shape.dtype,
           kv_->page_tokens(),
           page_bytes,
           pages,
           weights_.bytes()};
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kOutOfMemory,
                std::string("the engine thread could not be started: ") + error.what());
  }
}

Engine::~Engine() { close(); }

void Engine::abort(int64_t id) {
  const std::lock_guard lock(mutex_);
  const auto place = sequences_.find(id);
  if (place != sequences_.end()) place->second->abort = true;
}

void Engine::release(int64_t id) {
  SequencePtr dropped;  // dies after the lock
  const std::lock_guard lock(mutex_);
  const auto place = sequences_.find(id);
  if (place == sequences_.end()) return;
  dropped = std::move(place->second);
  sequences_.erase(place);
  dropped->released = true;
  dropped->abort = true;
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.free_pages = pool_->free_pages();
  return stats;
}

size_t Engine::memory_bytes() const {
  return info_.weight_bytes + forward_->activation_bytes() +
         static_cast<size_t>(pool_->most_held()) * info_.page_bytes;
}

void Engine::close() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  if (thread_.joinable()) thread_.join();
  const std::lock_guard lock(mutex_);
  sequences_.clear();
}

void Engine::run() {
  EventList events;
  while (wait_for_work()) {
    drop_ended(events);
    compute_step(events);
    report(events);
  }
  for (const SequencePtr& sequence : active_) sequence->abort = true;
  drop_ended(events);
  report(events);
}

void Engine::report(EventList& events) {
  const int32_t ended = std::exchange(ended_, 0);
  if (!events.empty() || ended > 0) sink_(std::move(events));
  events.clear();
  if (ended == 0) return;
  {
    const std::lock_guard lock(mutex_);
    stats_.unreported -= ended;
    if (stats_.unreported > 0) return;
  }
  // Whoever looked in between saw that more may come; now nothing does.
  sink_({});
}

bool Engine::wait_for_work() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] { return stop_ || !inbox_.empty() || !active_.empty(); });
  // An exception could not be reported from here, so nothing is allocated: whichever of the two has
  // room takes all.
  if (active_.capacity() < active_.size() + inbox_.size()) {
    inbox_.insert(inbox_.begin(), std::make_move_iterator(active_.begin()),
                  std::make_move_iterator(active_.end()));
    active_.swap(inbox_);
  } else {
    active_.insert(active_.end(), std::make_move_iterator(inbox_.begin()),
                   std::make_move_iterator(inbox_.end()));
  }
  inbox_.clear();
  return !stop_;
}

// Takes out aborted sequences, and those that wait for a block that will never be complete; lets
// the forks of what ended go on.
void Engine::drop_ended(EventList& events) {
  for (const SequencePtr& sequence : active_) {
    if (sequence->abort) {
      end_early(*sequence, Finish::kAborted, ErrorCode::kAborted, "", events);
    } else if (sequence->blocked_forever()) {
      end_early(*sequence, Finish::kError, ErrorCode::kAborted,
                "a block that this sequence sees was aborted or failed", events);
    }
  }
  std::erase_if(active_, [](const SequencePtr& sequence) { return sequence->finished; });
  for (const SequencePtr& sequence : active_) sequence->follow_source();
}

void Engine::end_early(Sequence& sequence, Finish finish, ErrorCode code, const char* message,
                       EventList& events) noexcept {
  sequence.own()->failed = true;
  if (!sequence.released) {
    SequenceEvent& event = sequence.early_end().front();
    event.id = sequence.id();
    event.finish = finish;
    event.error_code = code;
    try {
      event.error_message = message;
    } catch (const std::bad_alloc&) {
      event.error_message = "out of memory";  // so short that the string holds it in itself
    }
    events.splice(events.end(), sequence.early_end());
  }
  this->finish(sequence);
}

void Engine::finish(Sequence& sequence) noexcept {
  sequence.finished = true;
  sequence.drop_others();
  ++ended_;
  const std::lock_guard lock(mutex_);
  --stats_.running;
}

void Engine::compute_step(EventList& events) {
  try {
    schedule_step(active_, max_batch_tokens_, schedules_++, scheduled_);
    if (scheduled_.empty()) return;
    run_step();
    report_step(events);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kOutOfMemory) {
      fail_largest(error.what(), events);
    } else {
      fail_step(error.code(), error.what(), events);
    }
  } catch (const std::bad_alloc&) {
    fail_largest("memory for a step could not be allocated", events);
  } catch (const std::exception& error) {
    fail_step(ErrorCode::kInternal, error.what(), events);
  }
  std::erase_if(active_, [](const SequencePtr& sequence) { return sequence->finished; });
}

// Computes the rows of scheduled_ and draws the tokens. If it throws, it has changed nothing that
// computing the same rows once more would not write again.
void Engine::run_step() {
  const double start = now_ms();
  const Step& step = builder_.build(scheduled_);
  const std::vector<int32_t>& outputs = builder_.outputs();
  sampling_rows_.clear();
  for (int32_t index : outputs) {
    sampling_rows_.push_back(scheduled_[static_cast<size_t>(index)].sequence->sampling_row());
  }
  if (sampled_.size() < outputs.size()) sampled_.resize(outputs.size());
  backend_->begin_step();
  forward_->run(step, outputs, [&](const Tensor& logits, size_t first) {
    const auto count = static_cast<size_t>(logits.rows);
    backend_->sample(logits, std::span(sampling_rows_).subspan(first, count),
                     std::span(sampled_).subspan(first, count));
  });
  backend_->finish_step();

  uint64_t step_number;
  {
    const std::lock_guard lock(mutex_);
    step_number = ++stats_.steps;
    for (const ScheduledRows& rows : scheduled_) stats_.rows += static_cast<uint64_t>(rows.rows);
  }
  for (const ScheduledRows& rows : scheduled_) {
    rows.sequence->step_done(rows.begin);
    rows.sequence->last_step = step_number;
    if (!rows.sequence->started) rows.sequence->started_at = start;
    rows.sequence->started = true;
  }
}

// Memory that one report lacks costs that sequence alone.
void Engine::report_step(EventList& events) {
  const Step& step = builder_.step();
  const std::vector<int32_t>& outputs = builder_.outputs();
  const double now = now_ms();
  size_t output = 0;
  for (size_t i = 0; i < scheduled_.size(); ++i) {
    Sequence& sequence = *scheduled_[i].sequence;
    const bool draws = output < outputs.size() && static_cast<size_t>(outputs[output]) == i;
    if (!sequence.decoding()) sequence.flops += forward_->sequence_flops(step.sequences[i], draws);
    try {
      if (draws) {
        report_token(sequence, sampled_[output++], now, events);
      } else if (!sequence.generation() && sequence.pending_rows() == 0) {
        report_encoded(sequence, now, events);
      }
    } catch (const std::bad_alloc&) {
      end_early(sequence, Finish::kError, ErrorCode::kOutOfMemory,
                "memory to report a sequence could not be allocated", events);
    }
  }
}

void Engine::report_encoded(Sequence& sequence, double now, EventList& events) {
  if (!sequence.released) {
    SequenceEvent& event = events.emplace_back();
    event.id = sequence.id();
    event.finish = Finish::kEncoded;
    event.first = true;
    event.started_at = sequence.started_at;
    event.finished_at = now;
    event.flops = sequence.flops;
    event.copied_rows = sequence.copied_rows;
  }
  finish(sequence);
}

void Engine::report_token(Sequence& sequence, const SampledToken& token, double now,
                          EventList& events) {
  if (!token.valid) {
    end_early(sequence, Finish::kError, ErrorCode::kModelFormat,
              "the model's logits are not numbers: its weights may be damaged or overflow", events);
    return;
  }
  EventList report(1);
  SequenceEvent& event = report.front();
  event.id = sequence.id();
  event.tokens.push_back(token.token);
  event.times.push_back(now);
  if (sequence.generation()->sampling.top_logprobs >= 0) {
    event.logprobs.push_back(token.logprob);
    for (const TokenLogprob& top : token.top_logprobs) {
      event.top_tokens.push_back(top.token);
      event.top_logprobs.push_back(top.logprob);
    }
  }
  event.first = !sequence.decoding();
  event.started_at = sequence.started_at;
  event.finished_at = now;
  event.flops = sequence.flops;
  event.copied_rows = sequence.copied_rows;
  event.finish = sequence.push(token.token);
  if (event.finish != Finish::kNone) finish(sequence);
  if (!sequence.released) events.splice(events.end(), report);
}

void Engine::fail_step(ErrorCode code, const char* message, EventList& events) noexcept {
  for (const ScheduledRows& rows : scheduled_) {
    if (!rows.sequence->finished) end_early(*rows.sequence, Finish::kError, code, message, events);
  }
}

// A step for which there was no memory: what takes most of it fails, and the others are where they
// were before, for a step that needs less.
void Engine::fail_largest(const char* message, EventList& events) noexcept {
  // If not even the scheduling had memory, somebody must fail all the same, or it would go on so
  // for ever.
  Sequence* largest = active_.back().get();
  int32_t most = 0;
  for (const ScheduledRows& rows : scheduled_) {
    rows.sequence->step_failed();
    if (rows.rows < most) continue;
    largest = rows.sequence;
    most = rows.rows;
  }
  end_early(*largest, Finish::kError, ErrorCode::kOutOfMemory, message, events);
}

}  // namespace block_attention
