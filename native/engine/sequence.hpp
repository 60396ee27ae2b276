// A sequence of the engine: earlier segments, and rows of its own block that are still to be
// computed. With generation parameters its own block is the final block and tokens are drawn;
// without, it encodes its block.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/event.hpp"
#include "kv/page_pool.hpp"
#include "model/sampling.hpp"

namespace block_attention {

struct GenerationSpec {
  int32_t max_tokens = 0;
  std::vector<int32_t> stop_tokens;
  SamplingParams sampling;
  std::vector<int32_t> history;  // the prompt before the own block, for the repetition penalty
};

struct SegmentSpec {
  int64_t id = 0;      // of the sequence whose own block this is
  int32_t offset = 0;  // in the prompt
};

struct SequenceSpec {
  int64_t id = 0;
  std::vector<SegmentSpec> segments;  // in key order
  int32_t offset = 0;                 // of the own block in the prompt
  std::vector<int32_t> tokens;
  std::optional<GenerationSpec> generation;
  // A sequence of the same tokens behind the same segments, done or not: KV states of its own block
  // are copied instead of computed, as far as it gets with them.
  std::optional<int64_t> fork_of = {};
};

// A block and how far its KV states are written. Only the engine thread looks at what changes.
struct BlockProgress {
  BlockProgress(std::shared_ptr<PagePool> pool, int32_t token_count, int32_t capacity)
      : storage(std::move(pool), capacity), tokens(token_count) {}

  Block storage;
  const int32_t tokens;   // of the prompt; a final block goes on beyond them
  int32_t scheduled = 0;  // rows that are computed, or part of the step that is being put together
  int32_t computed = 0;   // rows of steps that are done
  bool failed = false;    // aborted or in error: will get no further
  // Failed too early for its forks: the one that computes what is lacking, for all of them.
  std::weak_ptr<BlockProgress> heir;

  bool complete() const { return scheduled >= tokens; }
};

struct Segment {
  std::shared_ptr<BlockProgress> block;
  int32_t offset = 0;
};

// How often each token occurred, for the penalties.
class TokenCounts {
 public:
  void add_prompt(std::span<const int32_t> tokens);
  void add_generated(int32_t token);
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  TokenCount& entry(int32_t token);

  std::unordered_map<int32_t, size_t> index_;
  std::vector<TokenCount> counts_;
};

class Sequence {
 public:
  // `source`: the own block of the sequence that this one forks, if it does.
  Sequence(SequenceSpec spec, std::vector<Segment> earlier, std::shared_ptr<BlockProgress> own,
           std::shared_ptr<BlockProgress> source = nullptr);

  int64_t id() const { return id_; }
  const std::vector<Segment>& earlier() const { return earlier_; }
  const std::shared_ptr<BlockProgress>& own() const { return own_; }
  int32_t offset() const { return offset_; }
  const std::optional<GenerationSpec>& generation() const { return generation_; }

  // Whether `spec`, resolved to these segments, has its prompt. Any thread, also when it has ended.
  bool has_prompt_of(const SequenceSpec& spec, const std::vector<Segment>& earlier) const;

  // The first row to schedule: what a fork's source has computed lies before it.
  int32_t next_row() const;
  // Rows that can be computed now: the rest of the prompt, or the token drawn last.
  int32_t pending_rows() const { return static_cast<int32_t>(tokens_.size()) - next_row(); }
  std::span<const int32_t> tokens(int32_t begin, int32_t count) const {
    return std::span(tokens_).subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
  }
  bool decoding() const { return generated_ > 0; }
  // All earlier blocks are complete, or will be in the step that is being put together; and the
  // source of a fork has nothing more to give.
  bool ready() const;
  bool blocked_forever() const;

  // Of a fork that has computed nothing yet: where to copy the rows below next_row() from. It keeps
  // the pages alive until then. Null otherwise.
  const BlockProgress* source() const { return source_.get(); }
  // Lets the forks of a source that failed too early wait for one of them. Before every step, in
  // order of arrival.
  void follow_source();

  // What was scheduled, `first_row` and those behind it, is computed.
  void step_done(int32_t first_row);
  // It is not: everything is as before the step.
  void step_failed() { own_->scheduled = own_->computed; }

  SamplingRow sampling_row() const;
  // Takes up the drawn token. Returns kNone while the generation goes on.
  Finish push(int32_t token);
  // The blocks that it saw or copied from may go; its own stays.
  void drop_others();
  // Where an end before its time is reported: one event, made with the sequence, so that running
  // out of memory can be reported too.
  EventList& early_end() { return early_end_; }

  std::atomic<bool> abort{false};
  std::atomic<bool> released{false};  // no more events
  // The engine thread's own:
  bool started = false;
  bool finished = false;
  uint64_t last_step = 0;  // the step that computed rows of it last
  int32_t copied_rows = 0;
  double flops = 0;
  double started_at = 0;

 private:
  // A segment that does not keep its block.
  struct SeenBlock {
    explicit SeenBlock(const Segment& segment) : block(segment.block), offset(segment.offset) {}
    std::weak_ptr<const BlockProgress> block;
    int32_t offset;
  };

  // Rows that a fork can do without computing. The last one has to be, for its logits.
  int32_t most_copied() const { return own_->tokens - 1; }
  bool lacks_source_rows() const;

  int64_t id_;
  std::vector<Segment> earlier_;
  const std::vector<SeenBlock> seen_;
  std::shared_ptr<BlockProgress> own_;
  std::shared_ptr<BlockProgress> source_;
  int32_t offset_;
  std::vector<int32_t> tokens_;
  std::optional<GenerationSpec> generation_;
  TokenCounts counts_;
  EventList early_end_;
  int32_t generated_ = 0;
};

}  // namespace block_attention
