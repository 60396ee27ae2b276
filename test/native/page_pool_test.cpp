// The page pool and its blocks against a simple model, over random histories.
#include "kv/page_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "core/error.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

// Every page is free or in exactly one block; what is asked of the pool is recomputed by looking at
// all blocks.
class History {
 public:
  explicit History(uint64_t seed)
      : random_(seed),
        pool_(std::make_shared<PagePool>(static_cast<int32_t>(random_.between(1, 40)),
                                         static_cast<int32_t>(random_.between(1, 20)))) {}

  void step() {
    if (blocks_.empty() || random_.chance(0.55)) {
      take();
    } else {
      drop();
    }
    check();
  }

  void drop_all() {
    while (!blocks_.empty()) drop();
    check();
    EXPECT_EQ(pool_->free_pages(), pool_->pages());
  }

 private:
  int32_t held() const {
    int32_t sum = 0;
    for (const auto& block : blocks_) sum += static_cast<int32_t>(block->pages().size());
    return sum;
  }

  void take() {
    const auto tokens = static_cast<int32_t>(
        random_.between(1, int64_t{pool_->pages()} * pool_->page_tokens() / 2 + 1));
    const int32_t wanted = (tokens + pool_->page_tokens() - 1) / pool_->page_tokens();
    EXPECT_EQ(pool_->pages_for(tokens), wanted);
    const int32_t free = pool_->pages() - held();
    try {
      blocks_.push_back(std::make_unique<Block>(pool_, tokens));
      ASSERT_LE(wanted, free);
      ASSERT_EQ(static_cast<int32_t>(blocks_.back()->pages().size()), wanted);
      EXPECT_EQ(blocks_.back()->capacity(), tokens);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kOutOfPages);
      ASSERT_GT(wanted, free);
    }
  }

  void drop() {
    const auto place = random_.between(0, static_cast<int64_t>(blocks_.size()) - 1);
    blocks_.erase(blocks_.begin() + place);
  }

  void check() {
    std::set<PageId> in_use;
    for (const auto& block : blocks_) {
      for (const PageId page : block->pages()) {
        ASSERT_GE(page, 0);
        ASSERT_LT(page, pool_->pages());
        ASSERT_TRUE(in_use.insert(page).second) << "page " << page << " is in two blocks";
      }
    }
    ever_.insert(in_use.begin(), in_use.end());
    most_ = std::max(most_, static_cast<int32_t>(in_use.size()));
    ASSERT_EQ(pool_->free_pages() + static_cast<int32_t>(in_use.size()), pool_->pages());
    ASSERT_EQ(pool_->most_held(), most_);
    // So pages that were never needed are never touched.
    ASSERT_EQ(ever_.size(), static_cast<size_t>(most_));
  }

  Random random_;
  std::shared_ptr<PagePool> pool_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::set<PageId> ever_;
  int32_t most_ = 0;
};

TEST(PagePoolTest, AgreesWithASimpleModelOverRandomHistories) {
  const uint64_t start = std::random_device{}();
  for (uint64_t seed = start; seed < start + 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    History history(seed);
    for (int step = 0; step < 200 && !testing::Test::HasFatalFailure(); ++step) history.step();
    history.drop_all();
    if (HasFailure()) return;
  }
}

TEST(PagePoolTest, NeedsAPageOfATokenAtLeast) {
  for (const auto& [pages, page_tokens] : {std::pair(0, 16), std::pair(-1, 16), std::pair(4, 0)}) {
    EXPECT_THROW(PagePool(pages, page_tokens), Error);
  }
}

TEST(PagePoolTest, IsUsedFromSeveralThreads) {
  const auto pool = std::make_shared<PagePool>(64, 4);
  std::vector<std::atomic<int>> users(64);
  std::atomic<int> twice{0};
  std::vector<std::thread> threads;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    threads.emplace_back([&, seed] {
      Random random(seed);
      for (int round = 0; round < 2000; ++round) {
        try {
          const Block block(pool, static_cast<int32_t>(random.between(1, 120)));
          for (const PageId page : block.pages()) twice += users[static_cast<size_t>(page)]++;
          for (const PageId page : block.pages()) --users[static_cast<size_t>(page)];
        } catch (const Error& error) {
          if (error.code() != ErrorCode::kOutOfPages) throw;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice, 0);
  EXPECT_EQ(pool->free_pages(), 64);
}

}  // namespace
}  // namespace block_attention::test
