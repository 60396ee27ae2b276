// Draws from rows of all kinds with the sampler of the namespace PLANTED and compares with the
// plain definition.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "device_array.hpp"
#include "sampling_reference.hpp"

namespace block_attention::cuda::PLANTED {
namespace {

using block_attention::test::SamplingReference;
using test::DeviceTensor;

constexpr int64_t kVocab = 1501;
constexpr size_t kRows = 12;

std::string check_row(const std::vector<float>& raw, const SamplingRow& row,
                      const SampledToken& out) {
  const SamplingParams& params = *row.params;
  const SamplingParams plain;
  const SamplingReference unchanged(raw, {&plain, {}, 0});
  for (size_t i = 0; i < out.top_logprobs.size(); ++i) {
    if (out.top_logprobs[i].token != unchanged.order[i]) return "wrong value: likeliest";
  }
  if (out.top_logprobs.size() != static_cast<size_t>(std::max(params.top_logprobs, 0))) {
    return "wrong value: number of likeliest";
  }
  const double total = block_attention::test::log_total(raw);
  const double logprob = double{raw[static_cast<size_t>(out.token)]} - total;
  if (params.top_logprobs >= 0 && !(std::abs(double{out.logprob} - logprob) < 1e-5)) {
    return "wrong value: log-probability";
  }
  const SamplingReference low(raw, row, -1e-5);
  if (params.temperature == 0) return out.token == low.order[0] ? "" : "wrong value: greedy";
  const SamplingReference high(raw, row, 1e-5);
  const double u = random_uniform(params.seed, row.position);
  const int32_t token = low.pick(u);
  // Within the rounding of float32 weights either neighbour may be drawn.
  const bool sure = low.order == high.order && token == low.pick(std::max(u - 1e-5, 0.0)) &&
                    token == low.pick(std::min(u + 1e-5, 1 - 1e-12));
  return !sure || out.token == token ? "" : "wrong value: drawn";
}

std::string run(Device& device) {
  block_attention::test::Random random(234);
  const std::vector<float> raw = random.normals(kRows * kVocab, 2);
  std::vector<TokenCount> counts;
  SamplingParams all[kRows];
  std::vector<std::pair<int32_t, float>> bias;
  for (int32_t i = 0; i < 150; ++i) {
    // The sampler sorts biases, not counts: different threads change the same logits.
    counts.push_back({(149 - i) * 9, i % 3});
    bias.emplace_back(i * 9, 1.0f);
  }
  std::vector<SamplingRow> rows;
  for (size_t i = 0; i < kRows; ++i) {
    SamplingParams& params = all[i];
    params.seed = i;
    params.temperature = i % 3 == 0 ? 0 : 1.5f;
    params.top_k = i % 3 == 1 ? 400 : 0;
    params.top_p = i % 2 == 1 ? 0.3f : 1;
    params.top_logprobs = i < 2 ? 70 : -1;
    if (i >= 2) {
      params.logit_bias = bias;
      params.repetition_penalty = 1.3f;
    }
    rows.push_back(
        {&params, i >= 2 ? std::span<const TokenCount>(counts) : std::span<const TokenCount>(), i});
  }
  const DeviceTensor logits(device, DType::kF32, kRows, kVocab, kVocab + 2, raw);
  StepArena uploads(device);
  CudaSampler sampler(device, uploads);
  std::vector<SampledToken> out(kRows);
  sampler.sample(logits.view(), rows, out);
  device.synchronize();
  sampler.finish();
  if (!block_attention::test::same_bits(logits.read(), raw)) return "wrong value: logits changed";
  for (size_t i = 0; i < kRows; ++i) {
    const auto first = raw.begin() + static_cast<ptrdiff_t>(i) * kVocab;
    const std::string said = check_row({first, first + kVocab}, rows[i], out[i]);
    if (!said.empty()) return said;
  }
  return "";
}

}  // namespace
}  // namespace block_attention::cuda::PLANTED
