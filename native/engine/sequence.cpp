#include "engine/sequence.hpp"

#include <algorithm>

namespace block_attention {

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::kNone:
      return "";
    case Finish::kEncoded:
      return "encoded";
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kAborted:
      return "aborted";
    case Finish::kError:
      return "error";
  }
  return "";
}

TokenCount& TokenCounts::entry(int32_t token) {
  const auto [place, inserted] = index_.try_emplace(token, counts_.size());
  if (inserted) counts_.push_back({token, 0});
  return counts_[place->second];
}

void TokenCounts::add_prompt(std::span<const int32_t> tokens) {
  for (int32_t token : tokens) entry(token);
}

void TokenCounts::add_generated(int32_t token) { ++entry(token).generated; }

Sequence::Sequence(SequenceSpec spec, std::vector<Segment> earlier,
                   std::shared_ptr<BlockProgress> own)
    : id_(spec.id),
      earlier_(std::move(earlier)),
      own_(std::move(own)),
      offset_(spec.offset),
      tokens_(std::move(spec.tokens)),
      generation_(std::move(spec.generation)),
      early_end_(1) {
  if (!generation_) return;
  tokens_.reserve(tokens_.size() + static_cast<size_t>(generation_->max_tokens));
  if (generation_->sampling.has_penalties()) {
    counts_.add_prompt(generation_->history);
    counts_.add_prompt(tokens_);
  }
}

bool Sequence::ready() const {
  return std::all_of(earlier_.begin(), earlier_.end(),
                     [](const Segment& s) { return s.block->complete(); });
}

bool Sequence::blocked_forever() const {
  return std::any_of(earlier_.begin(), earlier_.end(),
                     [](const Segment& s) { return s.block->failed; });
}

SamplingRow Sequence::sampling_row() const {
  return {&generation_->sampling, counts_.counts(), static_cast<uint64_t>(generated_)};
}

Finish Sequence::push(int32_t token) {
  tokens_.push_back(token);
  ++generated_;
  if (generation_->sampling.has_penalties()) counts_.add_generated(token);
  const std::vector<int32_t>& stops = generation_->stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return Finish::kStop;
  return generated_ >= generation_->max_tokens ? Finish::kLength : Finish::kNone;
}

}  // namespace block_attention
