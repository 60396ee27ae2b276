// The cases that the benchmarks of attention measure, on any backend.
#pragma once

#include <cstdint>
#include <vector>

#include "model/backend.hpp"
#include "model/step.hpp"

namespace block_attention {

// Attention of a Llama: all dims rotated, plain RoPE.
AttentionConfig llama_attention(int32_t kv_heads, int32_t group, int32_t head_dim);

struct AttentionCase {
  const char* name;
  int32_t sequences;
  int32_t rows;         // of each sequence, its own block's
  int32_t earlier;      // keys in earlier segments of each sequence
  int32_t segment;      // tokens per earlier segment
  bool shared = false;  // the sequences see the same earlier blocks, each at offsets of its own
};

// The step of a case. Every block starts a page of its own (16 tokens), and pages lie in random
// order.
class CaseStep {
 public:
  explicit CaseStep(const AttentionCase& c);
  CaseStep(const CaseStep&) = delete;
  CaseStep& operator=(const CaseStep&) = delete;

  const Step& step() const { return step_; }
  int32_t rows() const { return step_.rows(); }
  int32_t pages() const { return static_cast<int32_t>(ids_.size()); }
  // Keys in those pages: what must be read.
  int64_t keys() const { return keys_; }
  // (row, key) pairs of one head: what must be multiplied.
  int64_t pairs() const;

 private:
  std::vector<PageId> ids_;
  std::vector<int32_t> tokens_;
  std::vector<StepSegment> segments_;
  std::vector<StepSequence> sequences_;
  int64_t keys_ = 0;
  Step step_;
};

}  // namespace block_attention
