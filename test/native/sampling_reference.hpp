// What a draw is, written plainly: float64, everything sorted; and logits to draw from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "model/sampling.hpp"
#include "support.hpp"

namespace block_attention::test {

// The same definition written plainly: float64, everything sorted.
struct SamplingReference {
  std::vector<double> logits;   // with bias and penalties
  std::vector<int32_t> order;   // kept tokens, likeliest first
  std::vector<double> weights;  // by token; 0 if not kept

  // `slack` moves every boundary: what is kept with -slack and with +slack frames what a float32
  // sampler may keep.
  SamplingReference(const std::vector<float>& raw, const SamplingRow& row, double slack = 0) {
    const SamplingParams& params = *row.params;
    for (float x : raw) logits.push_back(std::isnan(x) ? -INFINITY : double{x});
    for (const auto& [token, bias] : params.logit_bias) at(token) += double{bias};
    for (const TokenCount& count : row.counts) {
      double& x = at(count.token);
      x = x < 0 ? x * double{params.repetition_penalty} : x / double{params.repetition_penalty};
      if (count.generated > 0) {
        x -= count.generated * double{params.frequency_penalty} + double{params.presence_penalty};
      }
    }
    const size_t n = logits.size();
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return at(a) > at(b); });
    while (!order.empty() && at(order.back()) == -INFINITY) order.pop_back();
    weights.assign(n, 0);
    if (order.empty() || params.temperature == 0) return;

    const double max = at(order[0]);
    const auto weight = [&](int32_t token) {
      return std::exp((at(token) - max) / double{params.temperature});
    };
    if (params.top_k > 0 && static_cast<size_t>(params.top_k) < order.size()) {
      const double kth = at(order[static_cast<size_t>(params.top_k) - 1]);
      std::erase_if(order, [&](int32_t token) { return at(token) < kth; });
    }
    if (params.top_p < 1) {
      double total = 0;
      for (int32_t token : order) total += weight(token);
      double mass = 0;
      size_t kept = 0;
      while (kept < order.size() && (kept == 0 || mass < (double{params.top_p} + slack) * total)) {
        mass += weight(order[kept++]);
      }
      order.resize(kept);
    }
    std::erase_if(order, [&](int32_t token) {
      return token != order[0] && weight(token) < double{params.min_p} * (1 - slack);
    });
    for (int32_t token : order) weights[static_cast<size_t>(token)] = weight(token);
  }

  double& at(int32_t token) { return logits[static_cast<size_t>(token)]; }
  double total() const { return std::accumulate(weights.begin(), weights.end(), 0.0); }

  // The token that the number u in [0, 1) draws, in the order of ids.
  int32_t pick(double u) const {
    double target = u * total();
    for (size_t i = 0; i < weights.size(); ++i) {
      if (target < weights[i]) return static_cast<int32_t>(i);
      target -= weights[i];
    }
    return -1;
  }
};

// The logarithm of the sum of all exponentials.
inline double log_total(const std::vector<float>& raw) {
  double max = -INFINITY;
  for (float x : raw) max = std::isnan(x) ? max : std::max(max, double{x});
  double sum = 0;
  for (float x : raw) sum += std::isnan(x) ? 0 : std::exp(double{x} - max);
  return max + std::log(sum);
}

// Logits of every kind: rounded (many equal ones), with -inf, with NaN.
inline std::vector<float> random_logits(Random& random, size_t vocab) {
  const float scale = static_cast<float>(random.uniform() * 6 + 0.1);
  std::vector<float> logits = random.normals(vocab, scale);
  const bool rounded = random.chance(0.3);
  const double holes = random.chance(0.3) ? 0.3 : 0;
  for (float& x : logits) {
    if (rounded) x = std::round(x);
    if (random.chance(holes)) x = random.chance(0.5) ? -kInf : kNan;
  }
  logits[static_cast<size_t>(random.between(0, static_cast<int64_t>(vocab) - 1))] = 1.5f;
  return logits;
}

inline size_t random_vocab(Random& random) {
  switch (random.between(0, 4)) {
    case 0:
      return static_cast<size_t>(random.between(1, 40));
    case 1:
      return 512;
    case 2:
      return static_cast<size_t>(random.between(500, 1100));
    default:
      return static_cast<size_t>(random.between(41, 6000));
  }
}

}  // namespace block_attention::test
