#include "cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cpu/attention_limits.hpp"

namespace block_attention {
namespace {

using Plan = AttentionTasks;

struct KeyRange {
  int32_t first = 0;
  int32_t last = 0;
};

// The keys of a segment that a token of the sequence sees.
KeyRange visible(const Plan::Segment& segment, int32_t token, int32_t window) {
  const int32_t position = segment.rotation + token;
  return {window > 0 ? std::max(0, position + 1 - window) : 0,
          std::min(segment.length, position + 1)};
}

// Walks the cuts of which some tokens of a sequence see a key, in key order.
class CutWalk {
 public:
  CutWalk(const Plan& plan, const Plan::Sequence& sequence, int32_t first_token, int32_t tokens,
          int32_t window)
      : segments_(std::span<const Plan::Segment>(plan.segments())
                      .subspan(static_cast<size_t>(sequence.first_segment),
                               static_cast<size_t>(sequence.segments))),
        first_token_(first_token),
        last_token_(first_token + tokens - 1),
        window_(window) {}

  bool next() {
    ++cut_;
    while (index_ == kBeforeFirst || cut_ * kCutKeys >= end_) {
      if (++index_ == segments_.size()) return false;
      cut_ = visible(segment(), first_token_, window_).first / kCutKeys;
      end_ = visible(segment(), last_token_, window_).last;
    }
    return true;
  }

  const Plan::Segment& segment() const { return segments_[index_]; }
  int32_t cut() const { return cut_; }

 private:
  static constexpr size_t kBeforeFirst = static_cast<size_t>(-1);

  std::span<const Plan::Segment> segments_;
  int32_t first_token_;
  int32_t last_token_;
  int32_t window_;
  size_t index_ = kBeforeFirst;
  int32_t cut_ = 0;
  int32_t end_ = 0;  // of the keys seen in the segment
};

AttentionConfig checked(AttentionConfig config) {
  const int32_t head_dim = config.head_dim;
  if (head_dim < 8 || head_dim > kMaxHeadDim || head_dim % 8 != 0) {
    throw Error(ErrorCode::kUnsupported,
                "head_dim " + std::to_string(head_dim) + " is not supported: it must be a " +
                    "multiple of 8 and at most " + std::to_string(kMaxHeadDim));
  }
  if (config.num_kv_heads < 1 || config.num_heads < 1 ||
      config.num_heads % config.num_kv_heads != 0) {
    throw Error(ErrorCode::kUnsupported, std::to_string(config.num_heads) + " heads cannot share " +
                                             std::to_string(config.num_kv_heads) +
                                             " key-value heads evenly");
  }
  if (config.inv_freq.size() * 2 > static_cast<size_t>(head_dim)) {
    throw Error(ErrorCode::kUnsupported, "more dimensions are rotated than a head has");
  }
  return config;
}

}  // namespace

CpuAttention::CpuAttention(ThreadPool& pool, Isa isa, AttentionConfig config)
    : pool_(pool),
      config_(checked(std::move(config))),
      group_(config_.num_heads / config_.num_kv_heads),
      state_size_(state_size(config_.head_dim)),
      max_tokens_(std::max(1, kMaxFoldRows / group_)),
      shape_{config_.head_dim, static_cast<int32_t>(config_.inv_freq.size()),
             static_cast<float>(config_.scale * std::numbers::log2e)},
      kernels_(attention_kernels(isa, config_.head_dim)),
      table_(config_.inv_freq, config_.rope_attention_factor),
      rope_store_(pool, isa, config_),
      rope_rotate_(pool, isa, config_),
      workers_(static_cast<size_t>(pool.threads())) {
  const int32_t rows = max_tokens_ * group_;
  for (Worker& worker : workers_) {
    worker.rows.reserve(static_cast<size_t>(rows));
    worker.task_rows.reserve(static_cast<size_t>(rows));
    worker.scratch.reserve(kernels_.scratch_size(shape_));
    worker.states.reserve(int64_t{rows} * state_size_);
  }
}

void CpuAttention::plan(const Step& step, AttentionTasks& plan, AttentionTasks::Mode mode) {
  plan.build(step,
             attention_limits(pool_.threads(), config_.num_kv_heads, group_, config_.head_dim,
                              kernels_.tile_rows),
             mode);
  table_.ensure(plan.positions());
  partials_.reserve(plan.partials() * state_size_);
}

void CpuAttention::run(const Tensor& q, const Plan& plan, int32_t layer, const CpuKvStorage& kv,
                       int32_t window, const Tensor& out) {
  const int64_t cols = int64_t{config_.num_heads} * config_.head_dim;
  if (q.rows != plan.rows() || out.rows != plan.rows() || q.cols != cols || out.cols != cols) {
    throw Error(ErrorCode::kInternal, "attention: q or out does not fit the plan");
  }
  const Call call = {q, plan, layer, kv, window, out};
  const int32_t kv_heads = config_.num_kv_heads;
  const auto folds = static_cast<int32_t>(plan.folds().size());
  const auto tasks = static_cast<int64_t>(plan.tasks().size());
  const auto split_of = [&](int64_t task) -> const Plan::SplitTask* {
    if (task >= tasks) return nullptr;
    const int32_t index = plan.tasks()[static_cast<size_t>(task)].index;
    return index < folds ? nullptr : &plan.splits()[static_cast<size_t>(index - folds)];
  };
  const auto run_task = [&](int64_t task, int index) {
    const Plan::Task& own = plan.tasks()[static_cast<size_t>(task)];
    Worker& worker = workers_[static_cast<size_t>(index)];
    if (own.index < folds) {
      fold(call, plan.folds()[static_cast<size_t>(own.index)], own.kv_head, worker);
      return;
    }
    // A guess at what this worker does next, to ask for its pages early.
    const int64_t later = task + pool_.threads();
    const Plan::SplitTask* next = split_of(later);
    const int32_t next_kv_head =
        next == nullptr ? 0 : plan.tasks()[static_cast<size_t>(later)].kv_head;
    split(call, *split_of(task), next, own.kv_head, next_kv_head, worker);
  };
  plan.in_runs() ? pool_.run_in_order(tasks, run_task) : pool_.run(tasks, run_task);
  pool_.run(static_cast<int64_t>(plan.merges().size()) * kv_heads, [&](int64_t task, int index) {
    merge(call, plan.merges()[static_cast<size_t>(task / kv_heads)],
          static_cast<int32_t>(task % kv_heads), workers_[static_cast<size_t>(index)]);
  });
}

// The rows of `tokens` tokens from first_token on. states: of the first one's first head.
void CpuAttention::make_rows(const Call& call, const Plan::Sequence& sequence, int32_t first_token,
                             int32_t tokens, int32_t kv_head, float* states, Worker& worker) const {
  worker.task_rows.clear();
  for (int32_t t = 0; t < tokens; ++t) {
    const float* q = call.q.f32() + (sequence.first_row + first_token + t) * call.q.stride +
                     int64_t{kv_head} * group_ * config_.head_dim;
    for (int32_t head = 0; head < group_; ++head) {
      worker.task_rows.push_back({q + head * config_.head_dim, nullptr, states, 0, 0});
      states += state_size_;
    }
  }
}

// Adds the rows made to those of the cut if they see a key of it. first_token: of the first of
// them.
void CpuAttention::aim(const Plan::Segment& segment, int32_t cut, int32_t first_token,
                       int32_t window, Worker& worker) const {
  const size_t before = worker.rows.size();
  worker.rows.resize(before + worker.task_rows.size());
  AttentionRow* to = worker.rows.data() + before;
  const AttentionRow* const end = worker.task_rows.data() + worker.task_rows.size();
  int32_t token = first_token;
  for (const AttentionRow* from = worker.task_rows.data(); from != end; from += group_, ++token) {
    const KeyRange keys = visible(segment, token, window);
    const int32_t first = std::max(keys.first - cut * kCutKeys, 0);
    const int32_t last = std::min(keys.last - cut * kCutKeys, kCutKeys);
    if (first >= last) continue;
    const float* rope = table_.row(segment.rotation + token);
    for (int32_t head = 0; head < group_; ++head)
      *to++ = {from[head].q, rope, from[head].state, first, last};
  }
  worker.rows.resize(static_cast<size_t>(to - worker.rows.data()));
}

AttentionCut CpuAttention::cut_of(const Call& call, const Plan::Segment& segment, int32_t cut,
                                  int32_t kv_head) const {
  AttentionCut pages = {};
  pages.dtype = call.kv.shape().dtype;
  const int32_t first = cut * kCutPages;
  const int32_t count = std::min(kCutPages, (segment.length + kPanel - 1) / kPanel - first);
  for (int32_t i = 0; i < count; ++i) {
    const PageId page = segment.pages[static_cast<size_t>(first + i)];
    pages.k[i] = call.kv.k(page, call.layer, kv_head);
    pages.v[i] = call.kv.v(page, call.layer, kv_head);
  }
  return pages;
}

// Folds a cut into the states of the rows collected, and forgets them.
void CpuAttention::attend(const AttentionCut& cut, const AttentionCut* next, Worker& worker) const {
  if (worker.rows.empty()) return;
  kernels_.attend(shape_, cut, next, worker.rows.data(), static_cast<int32_t>(worker.rows.size()),
                  worker.scratch.data());
  worker.rows.clear();
}

void CpuAttention::clear(float* states, int64_t count) const {
  const int32_t padded = padded_head_dim(config_.head_dim);
  for (int64_t i = 0; i < count; ++i) {
    states[i * state_size_ + padded] = -std::numeric_limits<float>::infinity();
    states[i * state_size_ + padded + 1] = 0;
  }
}

void CpuAttention::finish(const Call& call, const Plan::Sequence& sequence, int32_t first_token,
                          int32_t tokens, int32_t kv_head, const float* states) const {
  for (int32_t i = 0; i < tokens; ++i) {
    float* out = call.out.f32() + (sequence.first_row + first_token + i) * call.out.stride +
                 int64_t{kv_head} * group_ * config_.head_dim;
    kernels_.finish(config_.head_dim, states + int64_t{i} * group_ * state_size_, group_, out);
  }
}

float* CpuAttention::partials(const Plan::Sequence& sequence, int32_t kv_head, int32_t cut,
                              int32_t token) const {
  const int64_t row = ((int64_t{kv_head} * sequence.cuts + cut) * sequence.rows + token) * group_;
  return partials_.data() + (sequence.first_partial + row) * state_size_;
}

void CpuAttention::fold(const Call& call, const Plan::FoldTask& task, int32_t kv_head,
                        Worker& worker) const {
  const Plan::Sequence& sequence = call.plan.sequences()[static_cast<size_t>(task.sequence)];
  float* states = worker.states.data();
  clear(states, int64_t{task.tokens} * group_);
  make_rows(call, sequence, task.first_token, task.tokens, kv_head, states, worker);
  CutWalk walk(call.plan, sequence, task.first_token, task.tokens, call.window);
  bool more = walk.next();
  AttentionCut cut = more ? cut_of(call, walk.segment(), walk.cut(), kv_head) : AttentionCut{};
  while (more) {
    aim(walk.segment(), walk.cut(), task.first_token, call.window, worker);
    more = walk.next();
    const AttentionCut next = more ? cut_of(call, walk.segment(), walk.cut(), kv_head) : cut;
    attend(cut, more ? &next : nullptr, worker);
    cut = next;
  }
  finish(call, sequence, task.first_token, task.tokens, kv_head, states);
}

void CpuAttention::split(const Call& call, const Plan::SplitTask& task, const Plan::SplitTask* next,
                         int32_t kv_head, int32_t next_kv_head, Worker& worker) const {
  // All members have the same pages.
  const auto pages_of = [&](const Plan::SplitTask& split, int32_t head) {
    const Plan::Member& any = call.plan.members()[static_cast<size_t>(split.first_member)];
    return cut_of(call, call.plan.segments()[static_cast<size_t>(any.segment)], split.cut, head);
  };
  const AttentionCut cut = pages_of(task, kv_head);
  const AttentionCut next_cut = next == nullptr ? AttentionCut{} : pages_of(*next, next_kv_head);
  for (int32_t m = 0; m < task.members; ++m) {
    const Plan::Member& member = call.plan.members()[static_cast<size_t>(task.first_member + m)];
    const Plan::Sequence& sequence = call.plan.sequences()[static_cast<size_t>(member.sequence)];
    const Plan::Segment& segment = call.plan.segments()[static_cast<size_t>(member.segment)];
    float* states = partials(sequence, kv_head, segment.first_partial + task.cut, 0);
    clear(states, int64_t{sequence.rows} * group_);
    for (int32_t token = 0; token < sequence.rows;) {
      const int32_t room = max_tokens_ - static_cast<int32_t>(worker.rows.size()) / group_;
      if (room == 0) {
        attend(cut, nullptr, worker);
        continue;
      }
      const int32_t tokens = std::min(room, sequence.rows - token);
      make_rows(call, sequence, token, tokens, kv_head,
                states + int64_t{token} * group_ * state_size_, worker);
      aim(segment, task.cut, token, call.window, worker);
      token += tokens;
    }
  }
  attend(cut, next == nullptr ? nullptr : &next_cut, worker);
}

void CpuAttention::merge(const Call& call, const Plan::MergeTask& task, int32_t kv_head,
                         Worker& worker) const {
  const Plan::Sequence& sequence = call.plan.sequences()[static_cast<size_t>(task.sequence)];
  float* states = worker.states.data();
  clear(states, int64_t{task.tokens} * group_);
  for (CutWalk walk(call.plan, sequence, task.first_token, task.tokens, call.window);
       walk.next();) {
    // Both ends of the keys that a token sees rise with the token: those that see this cut stand
    // together.
    const auto sees = [&](int32_t t) {
      const KeyRange keys = visible(walk.segment(), task.first_token + t, call.window);
      return std::max(keys.first, walk.cut() * kCutKeys) <
             std::min(keys.last, (walk.cut() + 1) * kCutKeys);
    };
    int32_t begin = 0;
    while (begin < task.tokens && !sees(begin)) ++begin;
    int32_t end = begin;
    while (end < task.tokens && sees(end)) ++end;
    kernels_.fold(config_.head_dim,
                  partials(sequence, kv_head, walk.segment().first_partial + walk.cut(),
                           task.first_token + begin),
                  (end - begin) * group_, states + int64_t{begin} * group_ * state_size_);
  }
  finish(call, sequence, task.first_token, task.tokens, kv_head, states);
}

}  // namespace block_attention
