// How an attention case is run, whatever the backend: what is stored before its rows, and its rows
// in many steps.
#pragma once

#include <vector>

#include "attention_cases.hpp"

namespace block_attention::test {

// The step that stores tokens [begin, begin + rows) of a block.
inline CaseStep make_store_step(const AttentionCase& c, const TokenRows& from, int32_t begin,
                                int32_t rows, const std::vector<PageId>& pages) {
  CaseStep step;
  step.segments.push_back({pages, begin + rows, begin});
  step.sequences.push_back({0, rows, begin, step.segments});
  step.tokens.resize(static_cast<size_t>(rows));
  const auto at = from.qkv.begin() + int64_t{begin} * c.qkv_cols();
  step.qkv.assign(at, at + int64_t{rows} * c.qkv_cols());
  return step;
}

// Hands `store` the steps that store everything a case's rows find there.
template <typename Store>
void store_earlier(const AttentionCase& c, const CasePages& pages, const Store& store) {
  for (size_t b = 0; b < c.blocks.size(); ++b)
    store(make_store_step(c, c.blocks[b], 0, c.blocks[b].tokens, pages.block(b)));
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    const CaseSequence& sequence = c.sequences[s];
    if (sequence.local_begin == 0) continue;
    store(make_store_step(c, sequence.own, 0, sequence.local_begin, pages.own(s)));
  }
}

// All rows of a case, from random steps of some rows of some sequences: at least least_rows(left)
// of a sequence that has so many left. run(chunks) gives the rows of a step.
template <typename LeastRows, typename Run>
std::vector<float> run_in_chunks(const AttentionCase& c, Random& random,
                                 const LeastRows& least_rows, const Run& run) {
  std::vector<std::vector<float>> parts(c.sequences.size());
  std::vector<int32_t> done(c.sequences.size());
  for (bool all = false; !all;) {
    std::vector<CaseChunk> chunks;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      const int32_t left = c.sequences[s].rows - done[s];
      if (left == 0 || random.chance(0.2)) continue;
      const auto rows = static_cast<int32_t>(random.between(least_rows(left), left));
      chunks.push_back({s, done[s], rows});
      done[s] += rows;
    }
    const std::vector<float> out = run(chunks);
    auto at = out.begin();
    for (const CaseChunk& chunk : chunks) {
      const int64_t values = int64_t{chunk.rows} * c.cols();
      std::vector<float>& part = parts[chunk.sequence];
      part.insert(part.end(), at, at + values);
      at += values;
    }
    all = true;
    for (size_t s = 0; s < c.sequences.size(); ++s) all = all && done[s] == c.sequences[s].rows;
  }
  std::vector<float> joined;
  for (const std::vector<float>& part : parts)
    joined.insert(joined.end(), part.begin(), part.end());
  return joined;
}

}  // namespace block_attention::test
