// Turns scheduled rows into the arrays that a Step is a view of. The arrays are reused from step to
// step.
#pragma once

#include <vector>

#include "engine/scheduler.hpp"
#include "model/step.hpp"

namespace block_attention {

class StepBuilder {
 public:
  // The view is valid until the next call, and as long as the sequences are.
  const Step& build(const std::vector<ScheduledRows>& scheduled);
  // What build() returned last.
  const Step& step() const { return step_; }
  // Indices into the step's sequences whose last row ends a prompt or a decode, so that a token is
  // drawn.
  const std::vector<int32_t>& outputs() const { return outputs_; }

 private:
  void add_copies(const ScheduledRows& rows);

  std::vector<int32_t> tokens_;
  std::vector<StepSegment> segments_;
  std::vector<StepSequence> sequences_;
  std::vector<int32_t> outputs_;
  std::vector<PageCopy> copies_;
  Step step_;
};

}  // namespace block_attention
