#include "engine/step_builder.hpp"

#include <algorithm>

namespace block_attention {

const Step& StepBuilder::build(const std::vector<ScheduledRows>& scheduled) {
  tokens_.clear();
  segments_.clear();
  sequences_.clear();
  outputs_.clear();
  copies_.clear();
  for (const ScheduledRows& rows : scheduled) {
    const Sequence& sequence = *rows.sequence;
    add_copies(rows);
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
  step_ = {tokens_, sequences_, copies_};
  return step_;
}

// What a fork has not computed and will not compute.
void StepBuilder::add_copies(const ScheduledRows& rows) {
  const BlockProgress* source = rows.sequence->source();
  if (source == nullptr) return;
  const std::span<const PageId> from = source->storage.pages();
  const std::span<const PageId> to = rows.sequence->own()->storage.pages();
  const int32_t page_tokens = source->storage.page_tokens();
  for (int32_t first = 0; first < rows.begin; first += page_tokens) {
    const auto page = static_cast<size_t>(first / page_tokens);
    copies_.push_back({from[page], to[page], std::min(page_tokens, rows.begin - first)});
  }
}

}  // namespace block_attention
