// One forward pass of a Llama-family decoder over a ragged step, written once over the Backend
// interface.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/function_ref.hpp"
#include "model/backend.hpp"
#include "model/model_config.hpp"
#include "model/weights.hpp"

namespace block_attention {

class Forward {
 public:
  // Sets up activations for steps of at most `max_rows` rows. The references outlive this object.
  Forward(const ModelConfig& config, const ModelWeights& weights, Backend& backend, KvStorage& kv,
          int32_t max_rows);

  // Copies the step's pages and computes it: writes K and V of every row into its block's pages.
  // `output_sequences` are the indices of the sequences whose last row's logits are wanted,
  // ascending; `logits(tensor, first)` is called for the logits of output_sequences[first .. first
  // + tensor.rows), in chunks.
  void run(const Step& step, std::span<const int32_t> output_sequences,
           FunctionRef<void(const Tensor& logits, size_t first)> logits);

  // Bytes set up for activations.
  size_t activation_bytes() const;

  // Floating-point operations (a multiply-add counts 2) that run() spends on one sequence of a
  // step: the linear layers of its rows, attention over the keys that they see, and the LM head if
  // its logits are wanted. Norms, RoPE and other elementwise work are not counted.
  double sequence_flops(const StepSequence& sequence, bool output) const;

 private:
  // The step of the last layer: only the rows whose logits are wanted, everything else of the step
  // is done by then.
  const Step& output_step(const Step& step, std::span<const int32_t> output_sequences);
  Tensor activation(const Buffer& buffer, int64_t rows, int64_t cols) const;
  Tensor floats(const Buffer& buffer, int64_t rows, int64_t cols) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  Backend& backend_;
  KvStorage& kv_;

  Buffer residual_, normed_, delta_, qkv_, attention_, gate_up_, hidden_, logits_;
  Buffer output_residual_, output_qkv_;
  std::unique_ptr<AttentionPlan> plan_, output_plan_;

  std::vector<int32_t> output_rows_;
  std::vector<StepSegment> output_segments_;
  std::vector<StepSequence> output_sequences_;
  Step output_step_;
};

}  // namespace block_attention
