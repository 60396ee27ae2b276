// What attention by tiles promises beyond attention_test.cpp, at the kernels themselves: tile loads
// and stores are invisible to sanitizers, so what they may touch is walled in here.
#include "cpu/amx_attention_kernels.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "attention_fixture.hpp"
#include "cpu/kv_layout.hpp"
#include "cpu/lines_ahead.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

#if defined(__x86_64__)
bool amx() { return supported_isas().back() == Isa::kAmxBf16; }
constexpr const char* kNoAmx = "this CPU has no AMX with bf16, or the system does not permit it";

// `bytes` that end where memory ends.
class Walled {
 public:
  explicit Walled(size_t bytes) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    whole_ = (bytes + page_ - 1) / page_ * page_ + page_;
    memory_ = static_cast<char*>(
        mmap(nullptr, whole_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + whole_ - page_, page_, PROT_NONE);
    data_ = memory_ + whole_ - page_ - bytes;
  }
  ~Walled() { munmap(memory_, whole_); }
  Walled(const Walled&) = delete;
  Walled& operator=(const Walled&) = delete;
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  size_t page_;
  size_t whole_;
  char* memory_;
  char* data_;
};

// Rows [0, count) of a head, which see keys [first, last) of a cut of whole pages.
struct KernelCase {
  int32_t head_dim;
  int32_t count;
  int32_t first;
  int32_t last;
};

// The states that `attend` leaves. What nobody sees of keys and values is `unseen`.
std::vector<float> attend(const KernelCase& c, uint16_t unseen) {
  const AttentionShape shape = {c.head_dim, c.head_dim / 2, 0.2f};
  Random random(static_cast<uint64_t>(c.head_dim));
  const auto value = [&] { return f32_to_bf16(random.normal()); };
  const auto page_values = static_cast<size_t>(kPanel * c.head_dim);
  const int32_t pages = (c.last + kPanel - 1) / kPanel;
  AttentionCut cut = {};
  cut.dtype = DType::kBF16;
  std::vector<std::unique_ptr<Walled>> memory;
  for (int32_t p = 0; p < pages; ++p) {
    for (const bool is_key : {true, false}) {
      memory.push_back(std::make_unique<Walled>(page_values * 2));
      auto* page = memory.back()->as<uint16_t>();
      for (int32_t slot = 0; slot < kPanel; ++slot) {
        const int32_t key = p * kPanel + slot;
        for (int32_t dim = 0; dim < c.head_dim; ++dim) {
          const uint16_t seen = value();
          page[is_key ? key_index(2, slot, dim) : value_index(2, c.head_dim, slot, dim)] =
              key >= c.first && key < c.last ? seen : unseen;
        }
      }
      (is_key ? cut.k : cut.v)[p] = page;
    }
  }
  const auto size = static_cast<size_t>(state_size(c.head_dim));
  std::vector<float> states(static_cast<size_t>(c.count) * size);
  std::vector<float> q(static_cast<size_t>(c.count * c.head_dim));
  for (float& x : q) x = random.normal();
  std::vector<float> rope(static_cast<size_t>(c.head_dim), 0.6f);
  std::vector<AttentionRow> rows;
  for (int32_t r = 0; r < c.count; ++r) {
    float* state = states.data() + static_cast<size_t>(r) * size;
    state[c.head_dim] = -std::numeric_limits<float>::infinity();
    rows.push_back({q.data() + r * c.head_dim, rope.data(), state, c.first, c.last});
  }
  const auto scratch_bytes = static_cast<size_t>(amx_attention_scratch_size(shape)) * 4;
  const Walled scratch(scratch_bytes);
  std::memset(scratch.as<char>(), 0xff, scratch_bytes);
  amx_attend(shape, cut, &cut, rows.data(), c.count, scratch.as<float>());
  return states;
}

TEST(AmxAttention, TouchesNothingButItsPagesAndItsScratch) {
  if (!amx()) GTEST_SKIP() << kNoAmx;
  for (int32_t head_dim = 32; head_dim <= kMaxHeadDim; head_dim += 32) {
    for (const float x : attend({head_dim, 17, 0, kCutKeys}, 0))
      ASSERT_FALSE(std::isnan(x)) << head_dim;
  }
}

TEST(AmxAttention, WhatNobodySeesMayBeAnything) {
  if (!amx()) GTEST_SKIP() << kNoAmx;
  constexpr uint16_t kNanBits = 0x7fc1;
  constexpr uint16_t kInfinityBits = 0x7f80;
  for (int32_t count = 1; count <= 17; ++count) {
    // Beginnings and ends in the first and in the second page of a step, the last one without it.
    for (const auto& [first, last] : {std::pair{0, 5}, {3, 40}, {17, 33}, {31, 80}, {49, 256}}) {
      const std::vector<float> zeros = attend({64, count, first, last}, 0);
      for (const uint16_t unseen : {kNanBits, kInfinityBits}) {
        ASSERT_TRUE(same_bits(attend({64, count, first, last}, unseen), zeros))
            << count << " rows, keys " << first << " to " << last;
      }
    }
  }
}

// A thread that kept tiles in use would cost every switch to another one the saving of them.
TEST(AmxAttention, NoTilesStayInUse) {
  if (!amx()) GTEST_SKIP() << kNoAmx;
  attend({64, 3, 0, 100}, 0);
  uint32_t in_use = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(in_use), "=d"(high) : "c"(1));
  EXPECT_EQ(in_use >> 17 & 3, 0u);
}

TEST(AmxAttention, OtherHeadsAndPagesAreThoseOfVectors) {
  if (!amx()) GTEST_SKIP() << kNoAmx;
  for (const auto& [head_dim, pages] :
       {std::pair{80, DType::kBF16}, {64, DType::kF32}, {64, DType::kI8}}) {
    Random random(5);
    AttentionCase c;
    c.config = attention_config(1, 4, head_dim, head_dim);
    c.kv_dtype = pages;
    CaseSizes sizes;
    sizes.blocks = {300};
    sizes.rows = {20};
    fill_case(random, sizes, c);
    AttentionSetup tiles(c, Isa::kAmxBf16, 1, 5);
    AttentionSetup vectors(c, Isa::kAvx512Bf16, 1, 5);
    EXPECT_TRUE(same_bits(tiles.step(tiles.whole()), vectors.step(vectors.whole()))) << head_dim;
  }
}
#endif

TEST(LinesAhead, AsksForEveryLineOfEveryPageInEvenTurns) {
  constexpr int32_t kHeadDim = 64;
  constexpr size_t kPageBytes = kPanel * kHeadDim * 2;
  std::vector<char> memory(2 * kCutPages * kPageBytes);
  for (const int32_t pages : {0, 1, 3, 4, 15, 16}) {
    AttentionCut next = {};
    for (int32_t p = 0; p < pages; ++p) {
      next.k[p] = memory.data() + static_cast<size_t>(2 * p) * kPageBytes;
      next.v[p] = memory.data() + static_cast<size_t>(2 * p + 1) * kPageBytes;
    }
    constexpr int32_t kTurns = 20;
    LinesAhead ahead(&next, kHeadDim, kTurns);
    std::set<const char*> lines;
    size_t most = 0;
    for (int32_t turn = 0; turn < kTurns; ++turn) {
      size_t asked = 0;
      ahead.take_turn([&](const char* line) {
        lines.insert(line);
        ++asked;
      });
      most = std::max(most, asked);
    }
    const auto all = static_cast<size_t>(2 * pages) * kPageBytes / 64;
    EXPECT_EQ(lines.size(), all) << pages << " pages";
    for (const char* line : lines) EXPECT_EQ((line - memory.data()) % 64, 0);
    EXPECT_LE(most, all / kTurns + 16) << "evenly";
  }
  LinesAhead none(nullptr, kHeadDim, 1);
  none.take_turn([](const char*) { FAIL(); });
}

}  // namespace
}  // namespace block_attention::test
