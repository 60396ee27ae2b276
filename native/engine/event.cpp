#include "engine/event.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace block_attention {
namespace {

// Room for `more` elements, at least twice what there was: many small reports are joined.
template <typename Element>
void make_room(std::vector<Element>& values, size_t more) {
  const size_t needed = values.size() + more;
  if (needed > values.capacity()) values.reserve(std::max(needed, 2 * values.capacity()));
}

// Changes nothing if it throws std::bad_alloc.
void join(SequenceEvent& last, SequenceEvent& next) {
  const auto for_each_pair = [&](auto&& action) {
    action(last.tokens, next.tokens);
    action(last.times, next.times);
    action(last.logprobs, next.logprobs);
    action(last.top_tokens, next.top_tokens);
    action(last.top_logprobs, next.top_logprobs);
  };
  for_each_pair([](auto& to, const auto& from) { make_room(to, from.size()); });
  for_each_pair([](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); });
  last.finish = next.finish;
  last.error_code = next.error_code;
  last.error_message = std::move(next.error_message);
}

// False: it has to stay an event of its own.
bool try_join(EventList& events, SequenceEvent& next) {
  // Few sequences run at once, so the last report of this one is near the end.
  const auto last = std::find_if(events.rbegin(), events.rend(),
                                 [&](const SequenceEvent& event) { return event.id == next.id; });
  if (last == events.rend() || last->finish != Finish::kNone || next.first) return false;
  try {
    join(*last, next);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

}  // namespace

void append_events(EventList& events, EventList news) noexcept {
  while (!news.empty()) {
    if (try_join(events, news.front())) {
      news.pop_front();
    } else {
      events.splice(events.end(), news, news.begin());
    }
  }
}

}  // namespace block_attention
