#include "cuda/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.hpp"
#include "core/random.hpp"
#include "cuda/launch.cuh"
#include "cuda/sampling_kernel.cuh"

namespace block_attention::cuda {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr double kLog2E = 1.4426950408889634;

// A sixteenth of the vocabulary, as a thread reads 16 logits at a time.
uint32_t threads_for(int32_t vocab) {
  const int32_t threads = (vocab / 16 + 31) / 32 * 32;
  return static_cast<uint32_t>(std::clamp<int32_t>(threads, 64, kMaxSamplingThreads));
}

bool inside(int32_t token, int32_t vocab) { return token >= 0 && token < vocab; }

}  // namespace

CudaSampler::CudaSampler(Device& device, StepArena& uploads)
    : device_(device), uploads_(uploads), results_(device) {}

void CudaSampler::sample(const Tensor& logits, std::span<const SamplingRow> rows,
                         std::span<SampledToken> out) {
  if (logits.cols > kMaxSampledVocab) {
    throw Error(ErrorCode::kUnsupported, "a vocabulary of " + std::to_string(logits.cols) +
                                             " tokens: the GPU draws from at most " +
                                             std::to_string(kMaxSampledVocab));
  }
  if (rows.empty()) return;
  const int32_t vocab = static_cast<int32_t>(logits.cols);
  tasks_.clear();
  biases_.clear();
  counts_.clear();
  likeliest_ = 0;
  for (const SamplingRow& row : rows) add_row(row, vocab);

  const size_t result_bytes = rows.size() * sizeof(RowResult);
  const size_t likeliest_bytes = static_cast<size_t>(likeliest_) * sizeof(TokenLogit);
  const StepArena::Place results = results_.take(result_bytes + likeliest_bytes);
  SamplingArrays arrays;
  arrays.tasks = uploads_.upload(tasks_);
  arrays.biases = uploads_.upload(biases_);
  arrays.counts = uploads_.upload(counts_);
  arrays.before_biases = static_cast<float*>(uploads_.take(biases_.size() * sizeof(float)).device);
  arrays.before_counts = static_cast<float*>(uploads_.take(counts_.size() * sizeof(float)).device);
  arrays.results = static_cast<RowResult*>(results.device);
  arrays.likeliest =
      reinterpret_cast<TokenLogit*>(static_cast<char*>(results.device) + result_bytes);
  // One block walks a row, in up to ten passes. A pass over 128K logits (513 KB out of L2, at the
  // some 100 GB/s of one multiprocessor) is about 5 us. Several blocks and a second kernel that
  // joins them would take 2 us at best: a gain below 1% of a step, since even half a billion
  // weights take 300 us to read.
  launch<sampling_kernel>(device_,
                          {.grid = {static_cast<uint32_t>(rows.size())},
                           .threads = threads_for(vocab),
                           .shared_bytes = kSamplingSharedBytes},
                          arrays, logits.f32(), logits.stride, vocab, weight_of_one(vocab));
  device_.download(results.host, results.device, result_bytes + likeliest_bytes);
  calls_.push_back(
      {rows, out, vocab, static_cast<const RowResult*>(results.host),
       reinterpret_cast<const TokenLogit*>(static_cast<const char*>(results.host) + result_bytes)});
}

void CudaSampler::add_row(const SamplingRow& row, int32_t vocab) {
  const SamplingParams& params = *row.params;
  RowTask task;
  task.greedy = params.temperature > 0 ? 0 : 1;
  task.top_logprobs = std::min(std::max(params.top_logprobs, -1), vocab);
  task.top_p_offset = task.min_p_offset = kMinusInfinity;
  if (task.greedy == 0) {
    const double temperature = double{params.temperature};
    task.uniform = random_uniform(params.seed, row.position);
    task.exponent_scale = static_cast<float>(kLog2E / temperature);
    task.top_k = params.top_k < vocab ? std::max(params.top_k, 0) : 0;
    task.top_p = std::max(double{params.top_p}, 0.0);
    if (task.top_p < 1) {
      // Tokens with less than (1 - top_p) / vocab of the likeliest's weight weigh less than 1 -
      // top_p of the total together: none of them is needed. The margin covers rounding.
      task.top_p_offset = (std::log((1 - task.top_p) / vocab) - 1e-3) * temperature;
    }
    if (params.min_p > 0) {
      // weight >= min_p, solved for the logit; at most the largest, which is always kept.
      task.min_p_offset = std::log(std::min(double{params.min_p}, 1.0)) * temperature;
    }
  }

  task.first_bias = static_cast<int32_t>(biases_.size());
  for (const auto& [token, bias] : params.logit_bias) {
    if (inside(token, vocab))
      biases_.push_back({token, bias, static_cast<int32_t>(biases_.size())});
  }
  task.biases = static_cast<int32_t>(biases_.size()) - task.first_bias;
  std::sort(biases_.begin() + task.first_bias, biases_.end(),
            [](const LogitBias& a, const LogitBias& b) {
              return a.token != b.token ? a.token < b.token : a.place < b.place;
            });

  task.repetition_penalty = params.repetition_penalty;
  task.presence_penalty = params.presence_penalty;
  task.frequency_penalty = params.frequency_penalty;
  task.first_count = static_cast<int32_t>(counts_.size());
  if (params.has_penalties()) {
    for (const TokenCount& count : row.counts) {
      if (inside(count.token, vocab)) counts_.push_back(count);
    }
  }
  task.counts = static_cast<int32_t>(counts_.size()) - task.first_count;

  task.first_likeliest = likeliest_;
  likeliest_ += std::max(task.top_logprobs, 0);
  tasks_.push_back(task);
}

void CudaSampler::finish() {
  for (const Call& call : calls_) fill(call);
  cancel();
}

void CudaSampler::cancel() {
  calls_.clear();
  results_.reset();
}

void CudaSampler::fill(const Call& call) {
  const double one = static_cast<double>(weight_of_one(call.vocab));
  const TokenLogit* likeliest = call.likeliest;
  for (size_t i = 0; i < call.rows.size(); ++i) {
    const RowResult& result = call.results[i];
    const int32_t asked = call.rows[i].params->top_logprobs;
    SampledToken& out = call.out[i];
    out.token = result.token;
    out.valid = result.valid != 0;
    out.logprob = out.valid ? 0 : std::numeric_limits<float>::quiet_NaN();
    out.top_logprobs.clear();
    if (out.valid && asked >= 0) {
      const double log_total =
          double{result.raw_max} + std::log(static_cast<double>(result.raw_total) / one);
      const auto logprob = [&](float logit) {
        return static_cast<float>(double{logit} - log_total);
      };
      out.logprob = logprob(result.raw_logit);
      for (int32_t j = 0; j < result.likeliest; ++j) {
        out.top_logprobs.push_back({likeliest[j].token, likeliest[j].logit});
      }
      // By logits: different ones may have the same log-probability.
      std::sort(out.top_logprobs.begin(), out.top_logprobs.end(),
                [](const TokenLogprob& a, const TokenLogprob& b) {
                  return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
                });
      for (TokenLogprob& top : out.top_logprobs) top.logprob = logprob(top.logprob);
    }
    likeliest += std::clamp(asked, 0, call.vocab);
  }
}

}  // namespace block_attention::cuda
