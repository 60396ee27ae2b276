#include "model/model_config.hpp"

#include <cmath>
#include <string>

#include "core/error.hpp"

namespace block_attention {
namespace {

void check_range(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    throw Error(ErrorCode::kModelFormat, std::string("model config: ") + field + " is " +
                                             std::to_string(value) + ", expected " +
                                             std::to_string(low) + " to " + std::to_string(high));
  }
}

}  // namespace

void ModelConfig::validate() const {
  check_range("vocab_size", vocab_size, 1, 1 << 24);
  check_range("hidden_size", hidden_size, 1, 1 << 17);
  check_range("intermediate_size", intermediate_size, 1, 1 << 20);
  check_range("num_layers", num_layers, 1, 1024);
  check_range("num_heads", num_heads, 1, 1024);
  check_range("num_kv_heads", num_kv_heads, 1, num_heads);
  check_range("head_dim", head_dim, 1, 1024);
  check_range("rotary_dim", rotary_dim(), 2, head_dim);
  if (num_heads % num_kv_heads != 0) {
    throw Error(ErrorCode::kModelFormat,
                "model config: num_heads is not a multiple of num_kv_heads");
  }
  if (static_cast<int64_t>(windows.size()) != num_layers) {
    throw Error(ErrorCode::kModelFormat, "model config: one attention window per layer is needed");
  }
  for (int32_t window : windows) check_range("window", window, 0, INT32_MAX);
  if (!std::isfinite(rms_norm_eps) || rms_norm_eps < 0) {
    throw Error(ErrorCode::kModelFormat,
                "model config: rms_norm_eps must be finite and not negative");
  }
  for (double frequency : inv_freq) {
    if (!std::isfinite(frequency))
      throw Error(ErrorCode::kModelFormat, "model config: inv_freq must be finite");
  }
  if (!std::isfinite(rope_attention_factor)) {
    throw Error(ErrorCode::kModelFormat, "model config: rope_attention_factor must be finite");
  }
}

}  // namespace block_attention
