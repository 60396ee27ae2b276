// The engine: one long-lived thread that computes steps as long as there are unfinished sequences,
// and tells an event sink what came out. Decoding never waits for the caller: a drawn token feeds
// the next step here.
//
// submit, abort, release, stats, profile and memory_bytes may be called from any thread; close from
// one thread at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/event.hpp"
#include "engine/scheduler.hpp"
#include "engine/sequence.hpp"
#include "engine/step_builder.hpp"
#include "kv/page_pool.hpp"
#include "model/forward.hpp"
#include "model/profiled_backend.hpp"
#include "model/weights_cache.hpp"

namespace block_attention {

struct EngineOptions {
  std::optional<DType> kv_dtype;  // unless said, what the backend prefers
  size_t cache_bytes = 0;
  int32_t max_batch_tokens = 0;
  // For info(): why the device is not the one that would have been preferred, and how int8 weights
  // were come by.
  std::string device_problem = {};
  WeightsCacheReport weights_cache = {};
  // A prompt and its answer end before this position: bounds the RoPE table.
  int32_t max_positions = 1 << 20;
  // Takes the times of the ops, for profile().
  bool profile = false;
};

struct EngineInfo {
  std::string device;
  std::string device_problem;        // EngineOptions::device_problem
  WeightsCacheReport weights_cache;  // EngineOptions::weights_cache
  std::string numerics;              // Backend::numerics()
  DType kv_dtype = DType::kBF16;
  int32_t page_tokens = 0;
  size_t page_bytes = 0;
  int32_t pages = 0;
  size_t weight_bytes = 0;
};

struct EngineStats {
  int32_t free_pages = 0;
  int32_t running = 0;
  // Sequences of which the sink may still be told something: those that run, and those whose end
  // it has not returned from.
  int32_t unreported = 0;
  uint64_t steps = 0;
  uint64_t rows = 0;
};

class Engine {
 public:
  Engine(ModelConfig config, std::unique_ptr<Backend> backend, ModelWeights weights,
         const EngineOptions& options, EventSink sink);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  const EngineInfo& info() const { return info_; }

  // Takes up all or, on an exception, none.
  void submit(std::vector<SequenceSpec> specs);
  void abort(int64_t id);
  void release(int64_t id);
  EngineStats stats() const;
  // Null unless EngineOptions::profile.
  const OpTimes* profile() const { return op_times_.get(); }
  // Bytes that are, or may be, resident: weights, activations, and the most pages that were held at
  // once, since a page stays resident when it is given back. Any thread.
  size_t memory_bytes() const;
  // Ends every unfinished sequence with kAborted, stops the thread and joins it. Idempotent.
  void close();

 private:
  using SequencePtr = std::shared_ptr<Sequence>;

  SequencePtr find(int64_t id, const std::vector<SequencePtr>& batch) const;
  std::vector<Segment> resolve(const SequenceSpec& spec,
                               const std::vector<SequencePtr>& batch) const;
  std::shared_ptr<BlockProgress> resolve_fork(const SequenceSpec& spec,
                                              const std::vector<Segment>& segments,
                                              const std::vector<SequencePtr>& batch) const;
  void check(const SequenceSpec& spec) const;
  void check_token(int32_t token) const;

  void run();
  void take_up(const std::vector<SequencePtr>& batch);
  bool wait_for_work();
  void report(EventList& events);
  void drop_ended(EventList& events);
  void compute_step(EventList& events);
  void run_step();
  void report_step(EventList& events);
  void report_encoded(Sequence& sequence, double now, EventList& events);
  void report_token(Sequence& sequence, const SampledToken& token, double now, EventList& events);
  void fail_step(ErrorCode code, const char* message, EventList& events) noexcept;
  void fail_largest(const char* message, EventList& events) noexcept;
  void end_early(Sequence& sequence, Finish finish, ErrorCode code, const char* message,
                 EventList& events) noexcept;
  void finish(Sequence& sequence) noexcept;

  const ModelConfig config_;
  std::unique_ptr<OpTimes> op_times_;
  std::unique_ptr<Backend> backend_;
  const ModelWeights weights_;
  std::unique_ptr<KvStorage> kv_;
  std::shared_ptr<PagePool> pool_;
  std::unique_ptr<Forward> forward_;
  EventSink sink_;
  EngineInfo info_;
  const int32_t max_batch_tokens_;
  const int32_t max_positions_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::unordered_map<int64_t, SequencePtr> sequences_;  // every id that is not released
  // Submitted, not yet seen by the thread. Has room for all that is unfinished, so that the thread
  // need not allocate to take it over.
  std::vector<SequencePtr> inbox_;
  bool stop_ = false;
  EngineStats stats_;

  // The engine thread's own. Nothing of it may throw out of run(): a failure to allocate ends the
  // sequence that wanted the memory, and is reported with what was allocated when it was submitted.
  std::vector<SequencePtr> active_;  // unfinished, in order of arrival
  int32_t ended_ = 0;  // sequences that ended since the sink was called, perhaps without an event
  std::vector<ScheduledRows> scheduled_;
  uint64_t schedules_ = 0;  // calls of schedule_step()
  StepBuilder builder_;
  std::vector<SamplingRow> sampling_rows_;
  std::vector<SampledToken> sampled_;

  std::thread thread_;
};

}  // namespace block_attention
