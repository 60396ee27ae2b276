#include "attention_case.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "model/flops.hpp"

namespace block_attention {
namespace {

int32_t pages_for(int32_t tokens) { return (tokens + 15) / 16; }

}  // namespace

AttentionConfig llama_attention(int32_t kv_heads, int32_t group, int32_t head_dim) {
  AttentionConfig config;
  config.num_heads = kv_heads * group;
  config.num_kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  for (int32_t i = 0; i < head_dim / 2; ++i)
    config.inv_freq.push_back(std::pow(10000.0, -2.0 * i / head_dim));
  return config;
}

CaseStep::CaseStep(const AttentionCase& c) {
  const int32_t blocks = c.earlier / c.segment;
  const int32_t block_sets = c.shared ? 1 : c.sequences;
  const int32_t set_pages = blocks * pages_for(c.segment);
  const int32_t own_pages = pages_for(c.rows);
  ids_.resize(static_cast<size_t>(block_sets * set_pages + c.sequences * own_pages));
  for (size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<PageId>(i);
  std::mt19937 random(1);
  std::shuffle(ids_.begin(), ids_.end(), random);
  keys_ = int64_t{block_sets} * blocks * c.segment + int64_t{c.sequences} * c.rows;

  const std::span<const PageId> all(ids_);
  const auto pages = [all](int32_t first, int32_t count) {
    return all.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  };
  for (int32_t s = 0; s < c.sequences; ++s) {
    const int32_t first = c.shared ? 0 : s * set_pages;
    for (int32_t b = 0; b < blocks; ++b) {
      segments_.push_back({pages(first + b * pages_for(c.segment), pages_for(c.segment)), c.segment,
                           c.earlier - b * c.segment + s});
    }
    segments_.push_back({pages(block_sets * set_pages + s * own_pages, own_pages), c.rows, 0});
  }
  const auto count = static_cast<size_t>(blocks) + 1;
  for (int32_t s = 0; s < c.sequences; ++s) {
    sequences_.push_back(
        {s * c.rows, c.rows, 0, {segments_.data() + static_cast<size_t>(s) * count, count}});
  }
  tokens_.resize(static_cast<size_t>(c.sequences * c.rows));
  step_ = {tokens_, sequences_};
}

int64_t CaseStep::pairs() const {
  int64_t pairs = 0;
  for (const StepSequence& sequence : sequences_)
    pairs += visible_pairs(sequence, 0, sequence.rows, 0);
  return pairs;
}

}  // namespace block_attention
