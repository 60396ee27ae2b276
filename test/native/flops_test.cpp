#include "model/flops.hpp"

#include <vector>

#include "support.hpp"

namespace block_attention::test {
namespace {

int64_t counted(const StepSequence& sequence, int32_t first_row, int32_t rows, int32_t window) {
  int64_t pairs = 0;
  for (const StepSegment& segment : sequence.segments) {
    for (int32_t row = first_row; row < first_row + rows; ++row) {
      const int32_t position = segment.rotation + row;
      for (int32_t key = 0; key < segment.length; ++key) {
        if (key <= position && (window == 0 || key > position - window)) ++pairs;
      }
    }
  }
  return pairs;
}

TEST(VisiblePairsTest, EqualsCountingThem) {
  const uint64_t seed = 21;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (int i = 0; i < 500; ++i) {
    const auto rows = static_cast<int32_t>(random.between(1, 40));
    const auto local = static_cast<int32_t>(random.between(0, 50));
    std::vector<StepSegment> segments;
    const int64_t earlier = random.between(0, 4);
    for (int64_t s = 0; s < earlier; ++s) {
      const auto length = static_cast<int32_t>(random.between(0, 60));
      segments.push_back({{}, length, length + static_cast<int32_t>(random.between(0, 80))});
    }
    segments.push_back({{}, local + rows, local});
    const StepSequence sequence = {0, rows, local, segments};
    const auto first = static_cast<int32_t>(random.between(0, rows - 1));
    const auto count = static_cast<int32_t>(random.between(0, rows - first));
    const auto window = random.chance(0.3) ? 0 : static_cast<int32_t>(random.between(1, 100));
    ASSERT_EQ(visible_pairs(sequence, first, count, window),
              counted(sequence, first, count, window))
        << "case " << i << ", rows " << first << " + " << count << ", window " << window;
  }
}

TEST(VisiblePairsTest, DoesNotOverflowForLongPrompts) {
  const StepSegment segment = {{}, 1 << 20, 0};
  const StepSequence sequence = {0, 1 << 20, 0, {&segment, 1}};
  const int64_t n = int64_t{1} << 20;
  EXPECT_EQ(visible_pairs(sequence, 0, 1 << 20, 0), n * (n + 1) / 2);
}

}  // namespace
}  // namespace block_attention::test
