// What is run with a planted kernel of attention: many rows and few, with and without a window,
// each in a fold and in splits, which must have the same bits, and against float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "attention_setup.hpp"
#include "planted/attention_launcher.hpp"

namespace block_attention::cuda::test {

inline AttentionCase planted_case(block_attention::test::Random& random, int32_t head_dim,
                                  int32_t rows, int32_t window) {
  AttentionCase c;
  // Dims of a padded head; rows of a tile that are no tokens.
  c.config = block_attention::test::attention_config(2, 3, head_dim, head_dim);
  c.kv_dtype = DType::kBF16;
  c.window = window;
  block_attention::test::CaseSizes sizes;
  // Of several spans.
  sizes.blocks = {70, kCutKeys + 20, 20};
  sizes.sequences = 2;
  sizes.max_earlier = 10;
  sizes.rows = {rows};
  // The first rows see nothing of the step of keys that others begin.
  sizes.local_begins = {50};
  block_attention::test::fill_case(random, sizes, c);
  round_tokens(c);
  return c;
}

inline std::string run_planted_case(Device& device, const AttentionCase& c,
                                    AttentionKernel kernel) {
  AttentionSetup setup(device, c, 7, kernel);
  const std::vector<float> fold = setup.whole(Mode::kFold);
  const std::vector<float> split = setup.whole(Mode::kSplit);
  setup.read_pages();
  int64_t first_row = 0;
  double error = 0;
  double plain_error = 0;
  double largest = 0;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    for (int32_t row = 0; row < c.sequences[s].rows; row += 3) {
      const int32_t head = (row / 3) % c.config.num_heads;
      const auto expected = block_attention::test::plain_attention<double>(c, setup, s, row, head);
      const auto plain =
          block_attention::test::plain_attention<double, true>(c, setup, s, row, head);
      const float* got =
          fold.data() + (first_row + row) * c.cols() + int64_t{head} * c.config.head_dim;
      for (size_t i = 0; i < expected.size(); ++i) {
        if (std::isnan(got[i])) return "wrong value: NaN";
        error = std::max(error, std::abs(double{got[i]} - expected[i]));
        plain_error = std::max(plain_error, std::abs(plain[i] - expected[i]));
        largest = std::max(largest, std::abs(expected[i]));
      }
    }
    first_row += c.sequences[s].rows;
  }
  const double allowed = 2 * plain_error + 2 * unit_in_last_place(largest, DType::kBF16);
  if (error > allowed) return "wrong value: off by " + std::to_string(error);
  if (!block_attention::test::same_bits(fold, split)) return "other bits in splits";
  return "";
}

// head_dim: one with dims that are padded. kernel: what tiles are made for.
inline std::string run_planted(Device& device, AttentionKernel kernel, int32_t head_dim) {
  block_attention::test::Random random(233);
  struct Variant {
    int32_t rows;
    int32_t window;
  };
  for (const Variant& variant : {Variant{1, 0}, Variant{15, 0}, Variant{29, 0}, Variant{29, 40}}) {
    const AttentionCase c = planted_case(random, head_dim, variant.rows, variant.window);
    const std::string said = run_planted_case(device, c, kernel);
    if (!said.empty()) return said;
  }
  return "";
}

}  // namespace block_attention::cuda::test
