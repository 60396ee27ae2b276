// Which attention case it was, and how far its output is from the plain formula in float64,
// whatever the backend.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "attention_cases.hpp"

namespace block_attention::test {

inline std::string describe(const AttentionCase& c) {
  std::string text = "head_dim " + std::to_string(c.config.head_dim) + ", rotary " +
                     std::to_string(c.config.inv_freq.size() * 2) + ", kv heads " +
                     std::to_string(c.config.num_kv_heads) + ", group " +
                     std::to_string(c.group()) + ", " + dtype_name(c.kv_dtype) + ", window " +
                     std::to_string(c.window);
  for (const CaseSequence& s : c.sequences) {
    text += "; " + std::to_string(s.earlier.size()) + " earlier, " + std::to_string(s.local_begin) +
            " + " + std::to_string(s.rows) + " rows";
  }
  return text;
}

struct Errors {
  double sum = 0;
  double worst = 0;

  void add(double error) {
    sum += error;
    worst = std::max(worst, error);
  }
};

struct AttentionErrors {
  Errors ours;
  Errors plain;
  double largest = 0;  // value
  int64_t count = 0;
};

// Of `checks` random rows and heads of every sequence. plain(sequence, row, head) is what a plain
// implementation with roundings of its own gives.
template <typename Setup, typename Plain>
AttentionErrors attention_errors(const AttentionCase& c, const Setup& setup,
                                 const std::vector<float>& out, int checks, Random& random,
                                 const Plain& plain) {
  AttentionErrors errors;
  int64_t first_row = 0;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    for (int check = 0; check < checks; ++check) {
      const auto row = static_cast<int32_t>(random.between(0, c.sequences[s].rows - 1));
      const auto head = static_cast<int32_t>(random.between(0, c.config.num_heads - 1));
      const std::vector<double> expected = plain_attention<double>(c, setup, s, row, head);
      const auto rounded = plain(s, row, head);
      const float* got =
          out.data() + (first_row + row) * c.cols() + int64_t{head} * c.config.head_dim;
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(std::isfinite(got[i]))
            << "sequence " << s << " row " << row << " head " << head << " dim " << i;
        if (!std::isfinite(got[i])) return errors;
        errors.ours.add(std::abs(double{got[i]} - expected[i]));
        errors.plain.add(std::abs(double{rounded[i]} - expected[i]));
        errors.largest = std::max(errors.largest, std::abs(expected[i]));
        ++errors.count;
      }
    }
    first_row += c.sequences[s].rows;
  }
  return errors;
}

}  // namespace block_attention::test
