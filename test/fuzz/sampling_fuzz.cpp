// Draws from any logits, NaN and infinities among them, with any parameters that the addon lets
// through. A draw must be a token that can be drawn, and the logits must be as they were.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/sampling.hpp"
#include "events.hpp"

namespace block_attention::fuzz {
namespace {

float any_float(FuzzedDataProvider& data) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const uint32_t kind = data.ConsumeIntegral<uint8_t>();
  switch (kind % 16) {
    case 0:
      return kInfinity;
    case 1:
      return -kInfinity;
    case 2:
      return std::numeric_limits<float>::quiet_NaN();
    case 3:
      return std::bit_cast<float>(data.ConsumeIntegral<uint32_t>());
    default:
      return static_cast<float>(kind) / 16 - 8;
  }
}

SamplingParams any_params(FuzzedDataProvider& data, int64_t vocab) {
  const auto number = [&data](float low, float high) {
    return data.ConsumeBool() ? data.ConsumeFloatingPointInRange(low, high)
                              : data.PickValueInArray({low, high, (low + high) / 2});
  };
  SamplingParams params;
  params.temperature = number(0, data.ConsumeBool() ? 2 : 1e6f);
  params.top_k = data.ConsumeIntegralInRange<int32_t>(0, static_cast<int32_t>(vocab) + 1);
  params.top_p = number(0, 1);
  params.min_p = number(0, 1);
  if (data.ConsumeBool()) {
    params.repetition_penalty = number(1e-6f, 1e6f);
    params.presence_penalty = number(-1e6f, 1e6f);
    params.frequency_penalty = number(-1e6f, 1e6f);
  }
  params.seed = data.ConsumeIntegral<uint64_t>() >> 11;
  params.top_logprobs = data.ConsumeIntegralInRange(-1, 40);
  const int biases = data.ConsumeIntegralInRange(0, 3);
  for (int i = 0; i < biases; ++i)
    params.logit_bias.emplace_back(data.ConsumeIntegral<int32_t>(), number(-1e6f, 1e6f));
  return params;
}

void check(const SampledToken& token, const SamplingParams& params, int64_t vocab) {
  if (token.token < 0 || token.token >= vocab) finding("a token outside of the vocabulary");
  if (!token.valid) {
    if (token.token != 0 || !token.top_logprobs.empty()) finding("an invalid draw with a result");
    return;
  }
  const auto most = static_cast<size_t>(std::max(params.top_logprobs, 0));
  if (token.top_logprobs.size() > most) finding("more log-probabilities than asked for");
  float previous = std::numeric_limits<float>::infinity();
  for (const TokenLogprob& top : token.top_logprobs) {
    if (top.token < 0 || top.token >= vocab) finding("a log-probability of no token");
    if (!(top.logprob <= previous)) finding("log-probabilities that are not in order");
    previous = top.logprob;
  }
}

}  // namespace
}  // namespace block_attention::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace block_attention;
  FuzzedDataProvider data(bytes, size);
  static ThreadPool pool(1);
  static Sampler sampler(default_isa(), pool);

  const auto rows = data.ConsumeIntegralInRange<int64_t>(1, 3);
  const auto vocab = data.ConsumeIntegralInRange<int64_t>(1, 600);
  std::vector<SamplingParams> params;
  std::vector<std::vector<TokenCount>> counts(static_cast<size_t>(rows));
  std::vector<SamplingRow> sampling;
  for (int64_t row = 0; row < rows; ++row) params.push_back(fuzz::any_params(data, vocab));
  for (size_t row = 0; row < params.size(); ++row) {
    const int penalised = params[row].has_penalties() ? data.ConsumeIntegralInRange(0, 4) : 0;
    for (int i = 0; i < penalised; ++i) {
      counts[row].push_back({data.ConsumeIntegralInRange<int32_t>(-1, static_cast<int32_t>(vocab)),
                             data.ConsumeIntegralInRange(0, 3)});
    }
    sampling.push_back({&params[row], counts[row], data.ConsumeIntegral<uint8_t>()});
  }
  std::vector<float> logits(static_cast<size_t>(rows * vocab));
  for (float& logit : logits) logit = fuzz::any_float(data);

  const std::vector<float> before = logits;
  std::vector<SampledToken> out(static_cast<size_t>(rows));
  sampler.sample({logits.data(), DType::kF32, rows, vocab, vocab}, sampling, out);
  if (std::memcmp(before.data(), logits.data(), logits.size() * sizeof(float)) != 0)
    fuzz::finding("logits that were changed");
  for (size_t row = 0; row < out.size(); ++row) fuzz::check(out[row], params[row], vocab);
  return 0;
}
