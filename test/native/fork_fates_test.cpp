// Whatever becomes of a fork's source, and of the steps that both are part of, and whenever: who
// answers gives the answer that it would have given alone.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "engine_fixture.hpp"
#include "fork_requests.hpp"
#include "stepped_backend.hpp"

namespace block_attention::test {
namespace {

// ---- what becomes of the source

enum class Fate { kAborted, kReleased, kOutOfMemory, kDeviceError };

class ForkFates : public testing::TestWithParam<Fate> {};

// A source and three forks, in steps of 8 rows; the source, or the step, meets its fate in step
// `when`. False: that step never came.
bool meets(Fate fate, int64_t when, const Request& request, const std::vector<Outcome>& expected) {
  Engine* engine_of_act = nullptr;
  bool met = false;
  const auto at_begin = [&](int64_t step) {
    if (step != when) return;
    met = true;
    if (fate == Fate::kAborted) engine_of_act->abort(kSource);
    if (fate == Fate::kReleased) engine_of_act->release(kSource);
  };
  const auto at_end = [&](int64_t step) {
    if (step != when) return;
    if (fate == Fate::kOutOfMemory) throw Error(ErrorCode::kOutOfMemory, "planted");
    if (fate == Fate::kDeviceError) throw Error(ErrorCode::kDevice, "planted");
  };
  TestEngine engine(small_config(), {.max_batch_tokens = 8, .make_backend = [&] {
                                       return std::make_unique<SteppedBackend>(make_cpu_backend(1),
                                                                               at_begin, at_end);
                                     }});
  engine_of_act = &engine.engine();
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  specs.pop_back();
  const SequenceSpec source = query_of(request, kSource);
  specs.push_back(source);
  for (int64_t i = 1; i <= 3; ++i) {
    specs.push_back(fork_of(source, kSource + i, static_cast<uint64_t>(i)));
  }
  engine.engine().submit(std::move(specs));
  int victims = 0;
  int answers = 0;
  for (int64_t i = 0; i <= 3; ++i) {
    if (i == 0 && fate == Fate::kReleased) continue;
    const Outcome outcome = engine.wait(kSource + i);
    if (outcome.finish == Finish::kLength) {
      expect_same_bits(expected[static_cast<size_t>(i)], outcome, "sequence " + std::to_string(i));
      ++answers;
    } else if (i == 0 && fate == Fate::kAborted) {
      EXPECT_EQ(outcome.finish, Finish::kAborted);
    } else {
      EXPECT_EQ(outcome.finish, Finish::kError);
      ++victims;
    }
  }
  // Only a failed step, or the document's failure, can hurt a fork.
  if (fate == Fate::kAborted || fate == Fate::kReleased) {
    EXPECT_GE(answers, 3);
  }
  if (fate == Fate::kOutOfMemory && engine.wait(0).finish == Finish::kEncoded) {
    EXPECT_LE(victims, 1);
  }
  for (const int64_t id : {int64_t{0}, kSource, kSource + 1, kSource + 2, kSource + 3}) {
    engine.engine().release(id);
  }
  EXPECT_TRUE(engine.all_pages_come_back());
  return met;
}

TEST_P(ForkFates, OfTheSourceAtEveryStageDoNotChangeAnAnswer) {
  std::mt19937 random(3);
  const ModelConfig config = small_config();
  const Request request = usual_request(random, config);
  std::vector<Outcome> expected;
  for (uint64_t seed = 0; seed <= 3; ++seed) expected.push_back(unforked(config, request, seed));
  int64_t when = 0;
  for (; !HasFailure(); ++when) {
    SCOPED_TRACE("step " + std::to_string(when));
    if (!meets(GetParam(), when, request, expected)) break;
  }
  EXPECT_GT(when, 10);
}

INSTANTIATE_TEST_SUITE_P(All, ForkFates,
                         testing::Values(Fate::kAborted, Fate::kReleased, Fate::kOutOfMemory,
                                         Fate::kDeviceError),
                         [](const auto& info) {
                           switch (info.param) {
                             case Fate::kAborted:
                               return "Aborted";
                             case Fate::kReleased:
                               return "Released";
                             case Fate::kOutOfMemory:
                               return "OutOfMemory";
                             case Fate::kDeviceError:
                               return "DeviceError";
                           }
                           return "";
                         });

TEST(Fork, OneOfThemComputesWhatTheSourceCouldNot) {
  std::mt19937 random(4);
  const ModelConfig config = small_config();
  Request request = usual_request(random, config);
  request.documents.clear();
  Engine* engine_of_act = nullptr;
  TestEngine engine(config, {.max_batch_tokens = 8, .make_backend = [&] {
                               return std::make_unique<SteppedBackend>(
                                   make_cpu_backend(1),
                                   [&](int64_t step) {
                                     // 16 rows are computed when it ends; the first fork ends soon
                                     // after.
                                     if (step == 1) engine_of_act->abort(kSource);
                                     if (step == 2) engine_of_act->abort(kSource + 1);
                                   },
                                   [](int64_t) {});
                             }});
  engine_of_act = &engine.engine();
  SequenceSpec source = query_of(request, kSource);
  source.generation->max_tokens = 1;
  engine.engine().submit({source, fork_of(source, kSource + 1, 1), fork_of(source, kSource + 2, 2),
                          fork_of(source, kSource + 3, 3)});
  EXPECT_EQ(engine.wait(kSource).finish, Finish::kAborted);
  EXPECT_EQ(engine.wait(kSource + 1).finish, Finish::kAborted);
  // 16 rows of the source, 8 of the first fork behind copies of them, 13 of the second, and the
  // last row of the third.
  EXPECT_EQ(engine.wait(kSource + 2).finish, Finish::kLength);
  EXPECT_EQ(engine.wait(kSource + 2).copied_rows, 24);
  EXPECT_EQ(engine.wait(kSource + 3).finish, Finish::kLength);
  EXPECT_EQ(engine.wait(kSource + 3).copied_rows, 36);
  EXPECT_EQ(engine.engine().stats().rows, 16u + 8 + 13 + 1);
}

// ---- random lives

// A request with forks, and forks of these.
struct Group {
  std::vector<SequenceSpec> specs;
  std::map<int64_t, Outcome> expected;  // of those that answer
};

Group random_group(std::mt19937& random, const ModelConfig& config, int64_t first_id) {
  Request request = random_request(random, config.vocab_size);
  request.documents.resize(std::min<size_t>(request.documents.size(), 2));
  request.query = random_tokens(random, 1 + static_cast<int>(random() % 60), config.vocab_size);
  Group group = {sequences(request, first_id, false), {}};
  SequenceSpec source = group.specs.back();
  for (int64_t i = 0; i < 5; ++i) {
    if (i > 0) {
      SequenceSpec fork = fork_of(source, first_id + 10 + i, random());
      if (random() % 3 == 0) source = fork;
      group.specs.push_back(std::move(fork));
    }
    const SequenceSpec& answering = group.specs.back();
    group.expected[answering.id] = unforked(config, request, answering.generation->sampling.seed);
  }
  return group;
}

// Groups on one engine that has pages for one and a half of them, while sequences are aborted and
// released, and steps fail.
class RandomLife {
 public:
  RandomLife(const ModelConfig& config, unsigned seed) : random_(seed) {
    for (int64_t i = 0; i < 4; ++i) groups_.push_back(random_group(random_, config, 100 * i));
    troubles_ = random_() % 12;
    const int threads = 1 + static_cast<int>(random_() % 3);
    TestEngine::Options options = {.threads = threads,
                                   .max_batch_tokens = std::vector{1, 3, 8, 64}[random_() % 4],
                                   .pages = 45};
    options.make_backend = [this, threads] {
      return std::make_unique<SteppedBackend>(
          make_cpu_backend(threads), [this](int64_t) { at_begin(); },
          [this](int64_t) { at_end(); });
    };
    engine_ = std::make_unique<TestEngine>(config, options);
  }

  // How many answers there were.
  int run() {
    while (submitted_ < groups_.size()) {
      for (size_t i = 0; i < submitted_; ++i) release(groups_[i]);
      EXPECT_TRUE(engine_->all_pages_come_back());
      {
        const std::lock_guard lock(mutex_);
        submit_next();
      }
      wait_for_all(engine_->engine());
    }
    int answers = 0;
    for (const Group& group : groups_) {
      for (const auto& [id, expected] : group.expected) answers += check(id, expected) ? 1 : 0;
      release(group);
    }
    EXPECT_TRUE(engine_->all_pages_come_back());
    return answers;
  }

 private:
  // On the engine thread, as is at_end().
  void at_begin() {
    const std::lock_guard lock(mutex_);
    if (random_() % 40 < troubles_) {
      const Group& group = groups_[random_() % submitted_];
      const int64_t id = group.specs[random_() % group.specs.size()].id;
      if (random_() % 2 == 0) {
        engine_->engine().abort(id);
      } else {
        released_.insert(id);
        engine_->engine().release(id);
      }
    }
    if (submitted_ < groups_.size()) submit_next();
    fail();
  }
  void at_end() {
    const std::lock_guard lock(mutex_);
    fail();
  }
  void fail() {
    if (random_() % 200 < troubles_) throw Error(ErrorCode::kOutOfMemory, "planted");
  }

  void submit_next() {
    try {
      engine_->engine().submit(groups_[submitted_].specs);
      ++submitted_;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kOutOfPages) << error.what();
    }
  }
  void release(const Group& group) {
    for (const SequenceSpec& spec : group.specs) engine_->engine().release(spec.id);
  }

  bool check(int64_t id, const Outcome& expected) {
    if (released_.contains(id)) return false;
    const Outcome outcome = engine_->wait(id);
    if (outcome.finish == Finish::kLength) {
      expect_same_bits(expected, outcome, "sequence " + std::to_string(id));
      return true;
    }
    EXPECT_TRUE(outcome.finish == Finish::kAborted || outcome.finish == Finish::kError);
    return false;
  }

  std::mutex mutex_;
  std::mt19937 random_;
  std::vector<Group> groups_;
  size_t submitted_ = 0;
  unsigned troubles_ = 0;
  std::set<int64_t> released_;
  std::unique_ptr<TestEngine> engine_;
};

TEST(Fork, AnswersAreTheSameInWhateverLife) {
  const unsigned seed = std::random_device{}();
  const ModelConfig config = small_config(20);
  int answers = 0;
  for (unsigned round = 0; round < 25 && !HasFailure(); ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed + round));
    answers += RandomLife(config, seed + round).run();
  }
  EXPECT_GT(answers, 50);
}

}  // namespace
}  // namespace block_attention::test
