// A float32 vector in host memory (norm weights).
#pragma once

#include <span>
#include <vector>

#include "model/backend.hpp"

namespace block_attention {

class CpuVector : public VectorWeight {
 public:
  explicit CpuVector(std::span<const float> values) : values_(values.begin(), values.end()) {}

  int64_t size() const override { return static_cast<int64_t>(values_.size()); }
  const float* data() const { return values_.data(); }

 private:
  std::vector<float> values_;
};

}  // namespace block_attention
