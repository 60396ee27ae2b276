// Which rows the next step computes. The result of a row never depends on this choice (same bits
// for any schedule), so it is about latency and fairness alone:
//   1. every decoding sequence gets its one row, the longest waiting first if they are more than
//   the step has room for. While prompts wait, an eighth of the rows is not for decodes: of a small
//   step it is one row in some of every eight steps;
//   2. half of the room that is left goes to prompts in the order of arrival, so that the oldest
//   always advances;
//   3. the rest goes to the prompts with the fewest rows left, so that a short query does not wait
//   for a long document.
// A sequence may run in the very step that completes the blocks it sees: within each layer all keys
// are written before any is read. A fork waits until the rows that it copies are computed, one step
// longer, since copies come before everything else of a step; then it has one row left, and rule 3
// puts it in front.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/sequence.hpp"

namespace block_attention {

struct ScheduledRows {
  Sequence* sequence = nullptr;
  int32_t begin = 0;  // local position of the first row
  int32_t rows = 0;
};

// Fills `scheduled` with at most `max_rows` >= 1 rows of `active` (in order of arrival) and
// advances their `scheduled` counts. Dependencies of a sequence stand before it. `step` counts the
// calls: which of eight steps this is decides how the eighth of a small step is rounded.
void schedule_step(const std::vector<std::shared_ptr<Sequence>>& active, int32_t max_rows,
                   uint64_t step, std::vector<ScheduledRows>& scheduled);

}  // namespace block_attention
