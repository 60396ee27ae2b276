// Q8_0 of llama.cpp as a yardstick: weights, and activations before a product, rounded in blocks of
// 32 values. The products themselves are float32's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.hpp"
#include "model/forwarding_backend.hpp"
#include "model/weights.hpp"

namespace block_attention::test {

inline constexpr int64_t kQ8Block = 32;

// As quantize_row_q8_0_ref of ggml, and back: the scale is the greatest magnitude / 127, values are
// divided by it before it is rounded to float16, and halves are rounded away from zero.
inline void round_to_q8(float* values, int64_t count) {
  for (int64_t first = 0; first < count; first += kQ8Block) {
    const std::span<float> block(values + first,
                                 static_cast<size_t>(std::min(kQ8Block, count - first)));
    float most = 0;
    for (const float value : block) most = std::max(most, std::fabs(value));
    const float scale = most / 127.0f;
    const float inverse = scale == 0 ? 0.0f : 1.0f / scale;
    const float stored = f16_to_f32(f32_to_f16(scale));
    for (float& value : block) value = std::round(value * inverse) * stored;
  }
}

// Float32 weights whose matrices are rounded.
class Q8Weights final : public WeightSource {
 public:
  explicit Q8Weights(std::unique_ptr<WeightSource> source) : source_(std::move(source)) {}

  bool has(const std::string& name) const override { return source_->has(name); }
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override {
    HostMatrix plain = source_->matrix(name, rows, cols);
    const auto read = [read = plain.read, cols](int64_t first, int64_t count, void* out) {
      read(first, count, out);
      for (int64_t row = 0; row < count; ++row)
        round_to_q8(static_cast<float*>(out) + row * cols, cols);
    };
    return {read, plain.dtype, rows, cols};
  }
  std::vector<float> vector(const std::string& name, int64_t size) override {
    return source_->vector(name, size);
  }
  size_t total_bytes() const override { return source_->total_bytes(); }

 private:
  std::unique_ptr<WeightSource> source_;
};

// Rounds what every linear layer reads.
class Q8Activations final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    rounded_.resize(static_cast<size_t>(x.rows * x.cols));
    for (int64_t row = 0; row < x.rows; ++row) {
      float* to = rounded_.data() + row * x.cols;
      std::copy_n(x.f32() + row * x.stride, x.cols, to);
      round_to_q8(to, x.cols);
    }
    ForwardingBackend::linear({rounded_.data(), DType::kF32, x.rows, x.cols, x.cols}, weight, out);
  }

 private:
  std::vector<float> rounded_;
};

}  // namespace block_attention::test
