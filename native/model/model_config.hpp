// What a decoder-only transformer of the Llama family is made of, as the native code needs it.
// TypeScript reads it from config.json (lib/model); validate() is the native code's own defence.
#pragma once

#include <cstdint>
#include <vector>

namespace block_attention {

struct ModelConfig {
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  float rms_norm_eps = 0;
  bool tie_word_embeddings = false;
  bool qk_norm = false;  // RMSNorm per head on q and k before RoPE (Qwen3)
  std::vector<int32_t>
      windows;  // one per layer; 0: none. Key j is visible to query m if m - j < window.
  std::vector<double> inv_freq;      // rotary_dim / 2 inverse frequencies, radians per position
  double rope_attention_factor = 1;  // multiplies cos and sin (YaRN's mscale)

  int32_t rotary_dim() const { return 2 * static_cast<int32_t>(inv_freq.size()); }
  int32_t group_size() const { return num_heads / num_kv_heads; }
  int32_t q_size() const { return num_heads * head_dim; }
  int32_t kv_size() const { return num_kv_heads * head_dim; }
  int32_t qkv_size() const { return q_size() + 2 * kv_size(); }

  // Throws Error(kModelFormat) that names the field.
  void validate() const;
};

}  // namespace block_attention
