#include "engine/step_builder.hpp"

namespace block_attention {

const Step& StepBuilder::build(const std::vector<ScheduledRows>& scheduled) {
  tokens_.clear();
  segments_.clear();
  sequences_.clear();
  outputs_.clear();
  for (const ScheduledRows& rows : scheduled) {
    const Sequence& sequence = *rows.sequence;
    const auto tokens = sequence.tokens(rows.begin, rows.rows);
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    for (const Segment& earlier : sequence.earlier()) {
      segments_.push_back({earlier.block->storage.pages(), earlier.block->tokens,
                           sequence.offset() + rows.begin - earlier.offset});
    }
    segments_.push_back({sequence.own()->storage.pages(), rows.begin + rows.rows, rows.begin});
  }
  // The spans are taken once the vector has its final place.
  const StepSegment* segments = segments_.data();
  int32_t first_row = 0;
  for (const ScheduledRows& rows : scheduled) {
    const size_t count = rows.sequence->earlier().size() + 1;
    if (rows.sequence->generation() && rows.sequence->pending_rows() == 0) {
      outputs_.push_back(static_cast<int32_t>(sequences_.size()));
    }
    sequences_.push_back({first_row, rows.rows, rows.begin, {segments, count}});
    segments += count;
    first_row += rows.rows;
  }
  step_ = {tokens_, sequences_};
  return step_;
}

}  // namespace block_attention
