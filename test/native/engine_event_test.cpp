// Joining reports for a reader who is late, also when there is no memory to do so.
#include "engine/event.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "allocations.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

SequenceEvent token_event(int64_t id, int32_t token) {
  SequenceEvent event;
  event.id = id;
  event.tokens = {token};
  event.times = {0.5 * token};
  event.logprobs = {-1.0f * static_cast<float>(token)};
  event.top_tokens = {token, token + 1};
  event.top_logprobs = {-2.0f * static_cast<float>(token), -3.0f};
  return event;
}

void append(EventList& events, SequenceEvent event) {
  EventList news;
  news.push_back(std::move(event));
  append_events(events, std::move(news));
}

TEST(EventListTest, ReportsOfASequenceAreJoined) {
  EventList events;
  append(events, token_event(1, 10));
  append(events, token_event(2, 20));
  append(events, token_event(1, 11));
  SequenceEvent last = token_event(2, 21);
  last.finish = Finish::kLength;
  append(events, last);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events.front().tokens, (std::vector<int32_t>{10, 11}));
  EXPECT_EQ(events.front().times, (std::vector<double>{5, 5.5}));
  EXPECT_EQ(events.front().top_tokens, (std::vector<int32_t>{10, 11, 11, 12}));
  EXPECT_EQ(events.back().logprobs, (std::vector<float>{-20, -21}));
  EXPECT_EQ(events.back().top_logprobs, (std::vector<float>{-40, -3, -42, -3}));
  EXPECT_EQ(events.back().finish, Finish::kLength);
}

TEST(EventListTest, ALastReportIsTheLastAndAFirstOneTheFirst) {
  EventList events;
  SequenceEvent last = token_event(1, 10);
  last.finish = Finish::kStop;
  append(events, last);
  append(events, token_event(1, 11));  // of another sequence, which took the id over
  SequenceEvent first = token_event(1, 12);
  first.first = true;
  append(events, first);
  EXPECT_EQ(events.size(), 3u);
}

TEST(EventListTest, AnErrorKeepsItsMessage) {
  EventList events;
  append(events, token_event(1, 10));
  SequenceEvent error;
  error.id = 1;
  error.finish = Finish::kError;
  error.error_code = ErrorCode::kOutOfMemory;
  error.error_message = "a message that does not fit into the string itself";
  append(events, error);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events.front().error_code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(events.front().error_message, error.error_message);
}

// What a reader makes of it: everything of each sequence, in order.
std::map<int64_t, std::vector<double>> contents(const EventList& events) {
  std::map<int64_t, std::vector<double>> all;
  for (const SequenceEvent& event : events) {
    std::vector<double>& of = all[event.id];
    for (size_t i = 0; i < event.tokens.size(); ++i) {
      of.insert(of.end(), {double(event.tokens[i]), event.times.at(i), event.logprobs.at(i),
                           double(event.top_tokens.at(2 * i)), double(event.top_logprobs.at(2 * i)),
                           double(event.top_tokens.at(2 * i + 1))});
    }
  }
  return all;
}

TEST(EventListTest, NothingIsLostForLackOfMemory) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  for (const uint64_t count : {uint64_t{1}, uint64_t{3}, FailingAllocations::kAllFurther}) {
    bool happened = true;
    for (uint64_t first = 0; happened; ++first) {
      SCOPED_TRACE("allocation " + std::to_string(first) + ", " + std::to_string(count));
      Random random(first);
      EventList events;
      EventList separate;
      happened = false;
      for (int32_t token = 0; token < 60; ++token) {
        EventList news;
        news.push_back(token_event(random.between(0, 3), token));
        separate.push_back(news.back());
        const uint64_t left = first > static_cast<uint64_t>(token) ? first - token : 0;
        const FailingAllocations memory(Whose::kThisThread, left, count);
        append_events(events, std::move(news));
        happened = happened || FailingAllocations::happened();
      }
      EXPECT_EQ(contents(events), contents(separate));
    }
  }
}

}  // namespace
}  // namespace block_attention::test
