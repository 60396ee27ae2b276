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
                   std::shared_ptr<BlockProgress> own, std::shared_ptr<BlockProgress> source)
    : id_(spec.id),
      earlier_(std::move(earlier)),
      seen_(earlier_.begin(), earlier_.end()),
      own_(std::move(own)),
      source_(std::move(source)),
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

bool Sequence::has_prompt_of(const SequenceSpec& spec, const std::vector<Segment>& earlier) const {
  // Generated tokens are appended meanwhile, which moves nothing; tokens_.size() must not be read.
  const std::span<const int32_t> prompt(tokens_.data(), static_cast<size_t>(own_->tokens));
  const auto same_block = [](const SeenBlock& seen, const Segment& segment) {
    return seen.offset == segment.offset && !seen.block.owner_before(segment.block) &&
           !segment.block.owner_before(seen.block);
  };
  return offset_ == spec.offset &&
         std::equal(prompt.begin(), prompt.end(), spec.tokens.begin(), spec.tokens.end()) &&
         std::equal(seen_.begin(), seen_.end(), earlier.begin(), earlier.end(), same_block);
}

int32_t Sequence::next_row() const {
  if (source_ == nullptr || own_->scheduled > 0) return own_->scheduled;
  return std::min(source_->computed, most_copied());
}

bool Sequence::lacks_source_rows() const {
  return source_ != nullptr && source_->computed < most_copied();
}

bool Sequence::ready() const {
  if (lacks_source_rows() && !source_->failed) return false;
  return std::all_of(earlier_.begin(), earlier_.end(),
                     [](const Segment& s) { return s.block->complete(); });
}

void Sequence::follow_source() {
  while (lacks_source_rows() && source_->failed) {
    std::shared_ptr<BlockProgress> heir = source_->heir.lock();
    if (heir == own_) return;
    if (heir == nullptr) {
      source_->heir = own_;
      return;
    }
    source_ = std::move(heir);
  }
}

void Sequence::step_done(int32_t first_row) {
  own_->computed = own_->scheduled;
  if (source_ == nullptr) return;
  copied_rows = first_row;
  source_.reset();
}

void Sequence::drop_others() {
  earlier_.clear();
  source_.reset();
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
