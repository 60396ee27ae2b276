// Draws the tokens of a call, one block per row (see native/model/sampling.hpp for what is drawn).
// Rows of all kinds share a launch; what a row does not ask for, its block does not do.
#pragma once

#include "cuda/sampling_passes.cuh"
#include "cuda/sampling_rows.hpp"
#include "model/sampling.hpp"

namespace block_attention::cuda {

// 1024 would leave a thread 64 registers, and it needs more.
constexpr int32_t kMaxSamplingThreads = 768;

struct SamplingArrays {
  const RowTask* tasks;
  const LogitBias* biases;
  const TokenCount* counts;
  float* before_biases;  // the logits that they change, as they were
  float* before_counts;
  TokenLogit* likeliest;
  RowResult* results;
};

// Bias, then penalties; a token with several biases has them added in their order.
DEVICE_FN void change_logits(const RowTask* task, const SamplingArrays& arrays, float* logits) {
  const int32_t threads = static_cast<int32_t>(blockDim.x);
  const int32_t biases = ldg(&task->biases);
  const LogitBias* bias = arrays.biases + ldg(&task->first_bias);
  float* before = arrays.before_biases + ldg(&task->first_bias);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < biases; i += threads) {
    const int32_t token = ldg(&bias[i].token);
    if (i > 0 && ldg(&bias[i - 1].token) == token) continue;
    float logit = ldg(logits + token);
    stg(before + i, logit);
    for (int32_t j = i; j < biases && ldg(&bias[j].token) == token; ++j) {
      logit += ldg(&bias[j].bias);
    }
    stg(logits + token, logit);
  }
  syncthreads();
  const int32_t counts = ldg(&task->counts);
  const TokenCount* count = arrays.counts + ldg(&task->first_count);
  before = arrays.before_counts + ldg(&task->first_count);
  const float repetition = ldg(&task->repetition_penalty);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < counts; i += threads) {
    const int32_t token = ldg(&count[i].token);
    const int32_t generated = ldg(&count[i].generated);
    float logit = ldg(logits + token);
    stg(before + i, logit);
    logit = logit < 0 ? logit * repetition : logit / repetition;
    if (generated != 0) {
      logit -= static_cast<float>(generated) * ldg(&task->frequency_penalty);
      logit -= ldg(&task->presence_penalty);
    }
    stg(logits + token, logit);
  }
  syncthreads();
}

DEVICE_FN void restore_logits(const RowTask* task, const SamplingArrays& arrays, float* logits) {
  const int32_t threads = static_cast<int32_t>(blockDim.x);
  const int32_t counts = ldg(&task->counts);
  const TokenCount* count = arrays.counts + ldg(&task->first_count);
  const float* before = arrays.before_counts + ldg(&task->first_count);
  syncthreads();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < counts; i += threads) {
    stg(logits + ldg(&count[i].token), ldg(before + i));
  }
  syncthreads();
  const int32_t biases = ldg(&task->biases);
  const LogitBias* bias = arrays.biases + ldg(&task->first_bias);
  before = arrays.before_biases + ldg(&task->first_bias);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < biases; i += threads) {
    const int32_t token = ldg(&bias[i].token);
    if (i == 0 || ldg(&bias[i - 1].token) != token) stg(logits + token, ldg(before + i));
  }
  syncthreads();
}

// The token of that place, from 1, among those with this logit, in the order of ids.
DEVICE_FN int32_t select_among_equals(uint32_t shared, const LogitsRow& row, float logit,
                                      uint64_t place) {
  const LogitRange equals = {logit, logit, row.vocab};
  sum_chunks(shared, row, equals, counter());
  return select_id(shared, row, equals, counter(), place);
}

// Writes the `count` likeliest tokens to `out` in no order; returns how many there are.
DEVICE_FN int32_t write_likeliest(uint32_t shared, const LogitsRow& row, float max, int32_t count,
                                  TokenLogit* out) {
  LogitRange range = {kLowestLogit, max, row.vocab};
  const SelectedLogit last =
      select_logit(shared, row, kLowestLogit, max, counter(), static_cast<uint64_t>(count));
  if (last.found) {
    range.low = last.logit;
    if (last.rest < last.all) {
      range.last_low = select_among_equals(shared, row, last.logit, last.rest);
    }
  }
  const uint32_t appended = shared + kAppended;
  if (threadIdx.x == 0) sts<uint32_t>(appended, 0);
  syncthreads();
  visit_row(row, [&](int32_t id, float logit) {
    if (range.has(id, logit)) stg(out + atomic_add_shared(appended, 1), TokenLogit{id, logit});
  });
  syncthreads();
  return static_cast<int32_t>(lds<uint32_t>(appended));
}

// The tokens that top-k, top-p and min-p all keep. Each keeps the first so many in the order of
// logits, then ids, so this is a range.
DEVICE_FN LogitRange kept_range(uint32_t shared, const LogitsRow& row, const RowTask* task,
                                const Weigher& weigher) {
  LogitRange kept = {kLowestLogit, weigher.max, row.vocab};
  const int32_t top_k = ldg(&task->top_k);
  if (top_k > 0) {
    // Tokens as likely as the k-th are all kept.
    const SelectedLogit kth =
        select_logit(shared, row, kept.low, kept.high, counter(), static_cast<uint64_t>(top_k));
    if (kth.found) kept.low = kth.logit;
  }
  const double top_p = ldg(&task->top_p);
  if (top_p < 1) {
    const uint64_t total = sum_chunks(shared, row, kept, weigher);
    uint64_t wanted = static_cast<uint64_t>(ceil(top_p * static_cast<double>(total)));
    if (wanted < 1) wanted = 1;
    if (wanted > total) wanted = total;
    const double least = ldg(&task->top_p_offset) + static_cast<double>(weigher.max);
    if (least > static_cast<double>(kept.low)) kept.low = static_cast<float>(least);
    const SelectedLogit last = select_logit(shared, row, kept.low, kept.high, weigher, wanted);
    if (last.found) {
      kept.low = last.logit;
      const uint64_t weight = weigher.weight(last.logit);
      const uint64_t place = (last.rest + weight - 1) / weight;
      if (place * weight < last.all) {
        kept.last_low = select_among_equals(shared, row, last.logit, place);
      }
    }
  }
  const double least = ldg(&task->min_p_offset) + static_cast<double>(weigher.max);
  if (least > static_cast<double>(kept.low)) {
    kept.low = static_cast<float>(least);
    kept.last_low = row.vocab;
  }
  return kept;
}

// The inverse of the cumulative distribution, tokens in the order of their ids.
DEVICE_FN int32_t draw_token(uint32_t shared, const LogitsRow& row, const RowTask* task, float max,
                             float one) {
  const Weigher weigher = {max, ldg(&task->exponent_scale), one, false};
  const LogitRange kept = kept_range(shared, row, task, weigher);
  const uint64_t total = sum_chunks(shared, row, kept, weigher);
  uint64_t number = static_cast<uint64_t>(ldg(&task->uniform) * static_cast<double>(total)) + 1;
  if (number > total) number = total;
  return select_id(shared, row, kept, weigher, number);
}

DEVICE_FN bool can_draw(float max) { return max >= kLowestLogit && max <= kHighestLogit; }

__global__ void __launch_bounds__(kMaxSamplingThreads)
    sampling_kernel(SamplingArrays arrays, float* all_logits, int64_t stride, int32_t vocab,
                    uint64_t weight_of_one) {
  constexpr float kLog2E = 1.4426950408889634f;
  const uint32_t shared = shared_base();
  const float one = static_cast<float>(weight_of_one);
  const RowTask* task = arrays.tasks + blockIdx.x;
  const LogitsRow row = logits_row(all_logits + static_cast<int64_t>(blockIdx.x) * stride, vocab);
  RowResult result;
  RowPeak peak = find_peak(shared, row);
  result.raw_max = peak.value;
  const int32_t top_logprobs = ldg(&task->top_logprobs);
  if (can_draw(peak.value) && top_logprobs >= 0) {
    const LogitRange all = {kLowestLogit, peak.value, vocab};
    result.raw_total = sum_chunks(shared, row, all, {peak.value, kLog2E, one, false});
    if (top_logprobs > 0) {
      result.likeliest = write_likeliest(shared, row, peak.value, top_logprobs,
                                         arrays.likeliest + ldg(&task->first_likeliest));
    }
  }
  const bool changes = ldg(&task->biases) != 0 || ldg(&task->counts) != 0;
  if (can_draw(peak.value) && changes) {
    change_logits(task, arrays, row.logits);
    peak = find_peak(shared, row);
  }
  if (can_draw(peak.value)) {
    result.valid = 1;
    result.token =
        ldg(&task->greedy) != 0 ? peak.index : draw_token(shared, row, task, peak.value, one);
  }
  if (can_draw(result.raw_max) && changes) restore_logits(task, arrays, row.logits);
  if (threadIdx.x != 0) return;
  result.raw_logit = ldg(row.logits + result.token);
  RowResult* out = arrays.results + blockIdx.x;
  stg(&out->raw_total, result.raw_total);
  stg(&out->token, result.token);
  stg(&out->valid, result.valid);
  stg(&out->raw_max, result.raw_max);
  stg(&out->raw_logit, result.raw_logit);
  stg(&out->likeliest, result.likeliest);
  stg(&out->padding, 0);
}

}  // namespace block_attention::cuda
