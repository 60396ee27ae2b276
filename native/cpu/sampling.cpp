#include "cpu/sampling.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

#include "core/random.hpp"

namespace block_attention {
namespace {

constexpr int64_t kChunk = 512;
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t chunks_of(int64_t vocab) { return (vocab + kChunk - 1) / kChunk; }

// The threshold that keeps what is larger than `value`.
float next_above(float value) { return std::nextafter(value, kInfinity); }

// Calls part(begin, end, threshold) for the at most two runs of ids in [begin, end) that share one
// threshold: up to last_id a logit equal to the threshold is kept, behind it only a larger one.
template <typename Part>
void for_each_part(int64_t begin, int64_t end, float threshold, int64_t last_id, Part&& part) {
  const int64_t middle = std::clamp(last_id + 1, begin, end);
  if (begin < middle) part(begin, middle, threshold);
  if (middle < end) part(middle, end, next_above(threshold));
}

}  // namespace

Sampler::Sampler(Isa isa, ThreadPool& pool)
    : kernels_(sampling_kernels(isa)),
      pool_(pool),
      workspaces_(static_cast<size_t>(pool.threads())) {}

void Sampler::sample(const Tensor& logits, std::span<const SamplingRow> rows,
                     std::span<SampledToken> out) {
  reserve(logits.cols, rows, out);
  pool_.run(static_cast<int64_t>(rows.size()), [&](int64_t i, int worker) {
    const SamplingRow& row = rows[static_cast<size_t>(i)];
    sample_row({logits.f32() + i * logits.stride, logits.cols, *row.params}, row.counts,
               row.position, workspaces_[static_cast<size_t>(worker)], out[static_cast<size_t>(i)]);
  });
}

// Here and not in the workers, where an exception could not be reported.
void Sampler::reserve(int64_t vocab, std::span<const SamplingRow> rows,
                      std::span<SampledToken> out) {
  size_t changes = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const SamplingParams& params = *rows[i].params;
    changes = std::max(changes, rows[i].counts.size() + params.logit_bias.size());
    out[i].top_logprobs.reserve(
        static_cast<size_t>(std::clamp<int64_t>(params.top_logprobs, 0, vocab)));
  }
  for (Workspace& work : workspaces_) {
    const size_t chunks = static_cast<size_t>(chunks_of(vocab));
    if (work.sums.size() < chunks) {
      work.keys.resize((chunks + 1) * kChunk);
      work.sums.resize(chunks);
    }
    if (work.before.capacity() < changes) work.before.reserve(2 * changes);
  }
}

void Sampler::sample_row(const Row& row, std::span<const TokenCount> counts, uint64_t position,
                         Workspace& work, SampledToken& out) const {
  const SamplingParams& params = row.params;
  out.token = 0;
  out.valid = false;
  out.logprob = std::numeric_limits<float>::quiet_NaN();
  out.top_logprobs.clear();

  Peak peak = kernels_.peak(row.logits, row.vocab);
  if (!std::isfinite(peak.value)) return;
  double log_total = 0;
  if (params.top_logprobs >= 0) {
    const WeightScale scale = {peak.value, 1};
    log_total = double{peak.value} + std::log(total_weight(row, scale, {kLowest, row.vocab}, work));
    const size_t count = top_keys(row, static_cast<size_t>(params.top_logprobs), work);
    std::sort(work.keys.begin(), work.keys.begin() + static_cast<ptrdiff_t>(count),
              std::greater<>());
    for (size_t i = 0; i < count; ++i) {
      const uint64_t key = work.keys[i];
      out.top_logprobs.push_back(
          {rank_key_id(key), static_cast<float>(double{rank_key_logit(key)} - log_total)});
    }
  }

  if (apply_penalties(row, counts, work)) peak = kernels_.peak(row.logits, row.vocab);
  out.valid = std::isfinite(peak.value);
  if (out.valid)
    out.token = params.temperature > 0 ? draw(row, peak.value, position, work) : peak.index;
  for (auto change = work.before.rbegin(); change != work.before.rend(); ++change) {
    row.logits[change->first] = change->second;
  }
  if (!out.valid) {
    out.top_logprobs.clear();
    return;
  }
  const double logprob = double{row.logits[out.token]} - log_total;
  out.logprob = params.top_logprobs >= 0 ? static_cast<float>(logprob) : 0;
}

// Returns whether any logit was changed. Keeps the old values, so that the drawn token's raw logit
// is at hand later.
bool Sampler::apply_penalties(const Row& row, std::span<const TokenCount> counts,
                              Workspace& work) const {
  const SamplingParams& params = row.params;
  work.before.clear();
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || token >= row.vocab) continue;
    float& logit = row.logits[token];
    work.before.emplace_back(token, logit);
    logit += bias;
  }
  if (!params.has_penalties()) return !work.before.empty();
  for (const TokenCount& count : counts) {
    if (count.token < 0 || count.token >= row.vocab) continue;
    float& logit = row.logits[count.token];
    work.before.emplace_back(count.token, logit);
    logit = logit < 0 ? logit * params.repetition_penalty : logit / params.repetition_penalty;
    if (count.generated == 0) continue;
    logit -= static_cast<float>(count.generated) * params.frequency_penalty;
    logit -= params.presence_penalty;
  }
  return !work.before.empty();
}

int32_t Sampler::draw(const Row& row, float max, uint64_t position, Workspace& work) const {
  const SamplingParams& params = row.params;
  const WeightScale scale = {max, params.temperature};
  Kept kept = {kLowest, row.vocab};
  if (params.top_k > 0 && params.top_k < row.vocab) kept = keep_top_k(row, kept, work);
  if (params.top_p < 1) kept = keep_top_p(row, scale, kept, work);
  if (params.min_p > 0) {
    // weight >= min_p, solved for the logit; at most max, which is always kept.
    const double least =
        std::log(std::min(double{params.min_p}, 1.0)) * double{params.temperature} + double{max};
    if (least > double{kept.threshold}) kept = {static_cast<float>(least), row.vocab};
  }
  return pick(row, scale, kept, total_weight(row, scale, kept, work), position, work);
}

// Tokens as likely as the k-th are all kept, as transformers' TopKLogitsWarper does.
Sampler::Kept Sampler::keep_top_k(const Row& row, Kept kept, Workspace& work) const {
  const size_t k = static_cast<size_t>(row.params.top_k);
  if (top_keys(row, k, work) < k) return kept;
  const auto kth =
      std::min_element(work.keys.begin(), work.keys.begin() + static_cast<ptrdiff_t>(k));
  return {rank_key_logit(*kth), row.vocab};
}

// Finds the last token of the smallest set whose weight is at least top_p of the kept weight, by
// selection: halve the candidates, look which half holds the boundary, go on in that one.
Sampler::Kept Sampler::keep_top_p(const Row& row, WeightScale scale, Kept kept,
                                  Workspace& work) const {
  const double top_p = std::max(row.params.top_p, 0.0f);
  const double total = total_weight(row, scale, kept, work);
  // Tokens below (1 - top_p) * total / vocab weigh less than 1 - top_p of the total together: none
  // of them is needed. The margin covers the rounding of float32 weights.
  const double share = (1 - top_p) * total / static_cast<double>(row.vocab);
  const double least = (std::log(share) - 1e-3) * double{scale.temperature} + double{scale.max};
  const float threshold =
      least > double{kept.threshold} ? static_cast<float>(least) : kept.threshold;
  const auto begin = work.keys.begin();
  auto low = begin;
  auto high = begin + static_cast<ptrdiff_t>(
                          kernels_.collect(row.logits, row.vocab, 0, threshold, work.keys.data()));
  double wanted = top_p * total;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, std::greater<>());
    const double weight = total_weight({low, middle}, scale);
    if (weight >= wanted) {
      high = middle;
    } else {
      wanted -= weight;
      low = middle;
    }
  }
  return {rank_key_logit(*low), rank_key_id(*low)};
}

// The inverse of the cumulative distribution, tokens in the order of their ids. work.sums holds the
// chunks' weights.
int32_t Sampler::pick(const Row& row, WeightScale scale, Kept kept, double total, uint64_t position,
                      Workspace& work) const {
  double target = random_uniform(row.params.seed, position) * total;
  // Rounding may leave the target at or behind the end of the last chunk with any weight: then it
  // is the last token of that one.
  int64_t chunk = 0;
  for (int64_t c = 0; c < chunks_of(row.vocab); ++c) {
    const double sum = work.sums[static_cast<size_t>(c)];
    if (sum == 0) continue;
    chunk = c;
    if (target < sum) break;
    target -= sum;
  }
  const int64_t begin = chunk * kChunk;
  const int64_t end = std::min(begin + kChunk, row.vocab);
  std::array<float, kChunk> weights;
  for_each_part(begin, end, kept.threshold, kept.last_id,
                [&](int64_t from, int64_t to, float threshold) {
                  kernels_.weights(row.logits + from, to - from, scale, threshold,
                                   weights.data() + (from - begin));
                });
  int64_t token = begin;
  for (int64_t i = begin; i < end; ++i) {
    const double weight = weights[static_cast<size_t>(i - begin)];
    if (weight == 0) continue;
    token = i;
    if (target < weight) break;
    target -= weight;
  }
  return static_cast<int32_t>(token);
}

// Leaves each chunk's weight in work.sums.
double Sampler::total_weight(const Row& row, WeightScale scale, Kept kept, Workspace& work) const {
  double total = 0;
  for (int64_t begin = 0; begin < row.vocab; begin += kChunk) {
    double sum = 0;
    for_each_part(begin, std::min(begin + kChunk, row.vocab), kept.threshold, kept.last_id,
                  [&](int64_t from, int64_t to, float threshold) {
                    sum += kernels_.sum_weights(row.logits + from, to - from, scale, threshold);
                  });
    work.sums[static_cast<size_t>(begin / kChunk)] = sum;
    total += sum;
  }
  return total;
}

double Sampler::total_weight(std::span<const uint64_t> keys, WeightScale scale) const {
  std::array<float, kChunk> logits;
  double total = 0;
  for (size_t begin = 0; begin < keys.size(); begin += kChunk) {
    const size_t count = std::min<size_t>(kChunk, keys.size() - begin);
    for (size_t i = 0; i < count; ++i) logits[i] = rank_key_logit(keys[begin + i]);
    total += kernels_.sum_weights(logits.data(), static_cast<int64_t>(count), scale, kLowest);
  }
  return total;
}

// Leaves the keys of the `count` first tokens in work.keys, in no order; returns how many there are
// (fewer if fewer are possible). Once that many are held, only what is larger than the last of them
// can still belong to them.
size_t Sampler::top_keys(const Row& row, size_t count, Workspace& work) const {
  count = std::min(count, static_cast<size_t>(row.vocab));
  if (count == 0) return 0;
  // Room to add a chunk to what is held, and a selection only once in a while.
  const size_t capacity = std::min(std::max<size_t>(2 * count, 2048) + kChunk, work.keys.size());
  const auto begin = work.keys.begin();
  float threshold = kLowest;
  size_t held = 0;
  const auto keep_first = [&] {
    const auto last = begin + static_cast<ptrdiff_t>(count) - 1;
    std::nth_element(begin, last, begin + static_cast<ptrdiff_t>(held), std::greater<>());
    threshold = next_above(rank_key_logit(*last));
    held = count;
  };
  for (int64_t first = 0; first < row.vocab; first += kChunk) {
    if (held + kChunk > capacity) keep_first();
    const int64_t n = std::min(kChunk, row.vocab - first);
    held += kernels_.collect(row.logits + first, n, static_cast<int32_t>(first), threshold,
                             work.keys.data() + held);
  }
  if (held > count) keep_first();
  return held;
}

}  // namespace block_attention
