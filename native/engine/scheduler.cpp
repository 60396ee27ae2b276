#include "engine/scheduler.hpp"

#include <algorithm>

namespace block_attention {
namespace {

class StepRoom {
 public:
  StepRoom(int32_t rows, std::vector<ScheduledRows>& scheduled)
      : left_(rows), scheduled_(scheduled) {}

  int32_t left() const { return left_; }

  // Gives `sequence` up to `limit` rows; rows of a sequence that already has some in this step are
  // joined to them.
  int32_t give(Sequence& sequence, int32_t limit) {
    const int32_t rows = std::min({sequence.pending_rows(), limit, left_});
    if (rows <= 0 || !sequence.ready()) return 0;
    BlockProgress& own = *sequence.own();
    const int32_t begin = sequence.next_row();
    const auto same = std::find_if(scheduled_.begin(), scheduled_.end(),
                                   [&](const ScheduledRows& s) { return s.sequence == &sequence; });
    if (same != scheduled_.end()) {
      same->rows += rows;
    } else {
      scheduled_.push_back({&sequence, begin, rows});
    }
    own.scheduled = begin + rows;
    left_ -= rows;
    return rows;
  }

 private:
  int32_t left_;
  std::vector<ScheduledRows>& scheduled_;
};

// Decoding sequences first; if prompts wait, an eighth of the rows stays free for them. Rounding it
// up in every step would leave decodes nothing of a step of one row.
void schedule_decodes(const std::vector<std::shared_ptr<Sequence>>& active, int32_t max_rows,
                      uint64_t step, StepRoom& room) {
  const auto decoding = [](const auto& sequence) { return sequence->decoding(); };
  const auto count = std::count_if(active.begin(), active.end(), decoding);
  const bool prompts_wait = count < static_cast<std::ptrdiff_t>(active.size());
  const int32_t reserved =
      prompts_wait ? static_cast<int32_t>((static_cast<uint64_t>(max_rows) + step % 8) / 8) : 0;
  const int32_t limit = max_rows - reserved;
  if (count <= limit) {
    for (const auto& sequence : active) {
      if (sequence->decoding()) room.give(*sequence, 1);
    }
    return;
  }
  std::vector<Sequence*> waiting;
  for (const auto& sequence : active) {
    if (sequence->decoding()) waiting.push_back(sequence.get());
  }
  std::stable_sort(waiting.begin(), waiting.end(), [](const Sequence* a, const Sequence* b) {
    return a->last_step < b->last_step;
  });
  for (int32_t i = 0; i < limit; ++i) room.give(*waiting[static_cast<size_t>(i)], 1);
}

}  // namespace

void schedule_step(const std::vector<std::shared_ptr<Sequence>>& active, int32_t max_rows,
                   uint64_t step, std::vector<ScheduledRows>& scheduled) {
  scheduled.clear();
  StepRoom room(max_rows, scheduled);
  schedule_decodes(active, max_rows, step, room);

  int32_t in_order = (room.left() + 1) / 2;
  for (const auto& sequence : active) {
    if (in_order <= 0) break;
    if (!sequence->decoding()) in_order -= room.give(*sequence, in_order);
  }

  // Completing a block can make others ready, so this repeats until nothing fits any more.
  while (room.left() > 0) {
    Sequence* shortest = nullptr;
    for (const auto& sequence : active) {
      if (sequence->decoding() || sequence->pending_rows() == 0 || !sequence->ready()) continue;
      if (shortest == nullptr || sequence->pending_rows() < shortest->pending_rows())
        shortest = sequence.get();
    }
    if (shortest == nullptr) break;
    room.give(*shortest, room.left());
  }
}

}  // namespace block_attention
