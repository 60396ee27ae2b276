#include "model/stacked_matrix.hpp"

namespace block_attention {

std::string layer_prefix(int32_t layer) { return "model.layers." + std::to_string(layer) + "."; }

std::vector<StackedMatrix> stacked_matrices(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  std::vector<StackedMatrix> matrices = {{{{"model.embed_tokens", config.vocab_size}},
                                          hidden,
                                          "model.norm",
                                          config.tie_word_embeddings}};
  for (int32_t i = 0; i < config.num_layers; ++i) {
    const std::string layer = layer_prefix(i);
    matrices.push_back({{{layer + "self_attn.q_proj", config.q_size()},
                         {layer + "self_attn.k_proj", config.kv_size()},
                         {layer + "self_attn.v_proj", config.kv_size()}},
                        hidden,
                        layer + "input_layernorm"});
    matrices.push_back({{{layer + "self_attn.o_proj", hidden}}, config.q_size(), ""});
    matrices.push_back({{{layer + "mlp.gate_proj", config.intermediate_size},
                         {layer + "mlp.up_proj", config.intermediate_size}},
                        hidden,
                        layer + "post_attention_layernorm"});
    matrices.push_back({{{layer + "mlp.down_proj", hidden}}, config.intermediate_size, ""});
  }
  if (!config.tie_word_embeddings)
    matrices.push_back({{{"lm_head", config.vocab_size}}, hidden, "model.norm"});
  return matrices;
}

}  // namespace block_attention
