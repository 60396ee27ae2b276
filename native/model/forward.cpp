#include "model/forward.hpp"

#include <algorithm>
#include <cmath>

#include "model/flops.hpp"

namespace block_attention {

Forward::Forward(const ModelConfig& config, const ModelWeights& weights, Backend& backend,
                 KvStorage& kv, int32_t max_rows)
    : config_(config), weights_(weights), backend_(backend), kv_(kv) {
  const auto allocate = [&](int64_t rows, int64_t cols, DType dtype) {
    return backend.allocate(static_cast<size_t>(rows * cols) * dtype_size(dtype));
  };
  const auto allocate_activation = [&](int64_t rows, int64_t cols) {
    return allocate(rows, cols, backend.activation_dtype());
  };
  residual_ = allocate(max_rows, config.hidden_size, DType::kF32);
  normed_ = allocate_activation(max_rows, config.hidden_size);
  delta_ = allocate_activation(max_rows, config.hidden_size);
  qkv_ = allocate_activation(max_rows, config.qkv_size());
  attention_ = allocate_activation(max_rows, config.q_size());
  gate_up_ = allocate_activation(max_rows, 2 * int64_t{config.intermediate_size});
  hidden_ = allocate_activation(max_rows, config.intermediate_size);
  output_residual_ = allocate(max_rows, config.hidden_size, DType::kF32);
  output_qkv_ = allocate_activation(max_rows, config.q_size());
  logits_ =
      allocate(std::min<int64_t>(max_rows, backend.logits_rows()), config.vocab_size, DType::kF32);

  backend.configure_attention(
      {config.num_heads, config.num_kv_heads, config.head_dim,
       static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim))), config.inv_freq,
       config.rope_attention_factor});
  plan_ = backend.make_attention_plan();
  output_plan_ = backend.make_attention_plan();
}

size_t Forward::activation_bytes() const {
  size_t sum = 0;
  for (const Buffer* buffer : {&residual_, &normed_, &delta_, &qkv_, &attention_, &gate_up_,
                               &hidden_, &logits_, &output_residual_, &output_qkv_}) {
    sum += buffer->bytes();
  }
  return sum;
}

Tensor Forward::activation(const Buffer& buffer, int64_t rows, int64_t cols) const {
  return {buffer.data(), backend_.activation_dtype(), rows, cols, cols};
}

Tensor Forward::floats(const Buffer& buffer, int64_t rows, int64_t cols) const {
  return {buffer.data(), DType::kF32, rows, cols, cols};
}

void Forward::run(const Step& step, std::span<const int32_t> output_sequences,
                  FunctionRef<void(const Tensor&, size_t)> logits) {
  int64_t rows = step.rows();
  Tensor residual = floats(residual_, rows, config_.hidden_size);
  const Tensor all_normed = activation(normed_, rows, config_.hidden_size);
  const Tensor all_delta = activation(delta_, rows, config_.hidden_size);
  const Tensor qkv = activation(qkv_, rows, config_.qkv_size());

  if (!step.copies.empty()) backend_.copy_pages(step.copies, kv_);
  backend_.plan_attention(step, *plan_);
  backend_.embedding(*weights_.embed_tokens, step.tokens, residual);
  for (int32_t index = 0; index < config_.num_layers; ++index) {
    const LayerWeights& layer = weights_.layers[static_cast<size_t>(index)];
    if (index == 0) {
      backend_.rms_norm(residual, *layer.input_norm, config_.rms_norm_eps, all_normed);
    } else {
      backend_.add_rms_norm(residual, all_delta, *layer.input_norm, config_.rms_norm_eps,
                            all_normed);
    }
    backend_.announce(*layer.o);
    backend_.linear(all_normed, *layer.qkv, qkv);
    backend_.rope_store(qkv, *plan_, {layer.q_norm.get(), layer.k_norm.get(), config_.rms_norm_eps},
                        index, kv_);

    Tensor q = qkv.columns(0, config_.q_size());
    const AttentionPlan* plan = plan_.get();
    if (index == config_.num_layers - 1) {
      // From here on only the rows whose logits are wanted matter: a block's KV states are
      // complete.
      if (output_sequences.empty()) return;
      // When all decode, these are all rows, in order.
      if (static_cast<int64_t>(output_sequences.size()) < rows) {
        backend_.plan_attention(output_step(step, output_sequences), *output_plan_);
        plan = output_plan_.get();
        rows = static_cast<int64_t>(output_rows_.size());
        const Tensor output_q = activation(output_qkv_, rows, config_.q_size());
        const Tensor output_residual = floats(output_residual_, rows, config_.hidden_size);
        backend_.gather_rows(q, output_rows_, output_q);
        backend_.gather_rows(residual, output_rows_, output_residual);
        q = output_q;
        residual = output_residual;
      }
    }

    const Tensor attended = activation(attention_, rows, config_.q_size());
    const Tensor normed = activation(normed_, rows, config_.hidden_size);
    const Tensor delta = activation(delta_, rows, config_.hidden_size);
    const Tensor gate_up = activation(gate_up_, rows, 2 * int64_t{config_.intermediate_size});
    const Tensor hidden = activation(hidden_, rows, config_.intermediate_size);
    backend_.attention(q, *plan, index, kv_, config_.windows[static_cast<size_t>(index)], attended);
    backend_.announce(*layer.gate_up);
    backend_.linear(attended, *layer.o, delta);
    backend_.add_rms_norm(residual, delta, *layer.post_attention_norm, config_.rms_norm_eps,
                          normed);
    backend_.announce(*layer.down);
    const Tensor gated =
        backend_.linear_swiglu(normed, *layer.gate_up, gate_up, hidden, *layer.down);
    const bool last = index + 1 == config_.num_layers;
    backend_.announce(last ? weights_.output()
                           : *weights_.layers[static_cast<size_t>(index) + 1].qkv);
    backend_.linear(gated, *layer.down, delta);
  }

  const Tensor normed = activation(normed_, rows, config_.hidden_size);
  backend_.add_rms_norm(residual, activation(delta_, rows, config_.hidden_size), *weights_.norm,
                        config_.rms_norm_eps, normed);
  const int64_t at_once = backend_.logits_rows();
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t count = std::min(at_once, rows - first);
    const Tensor out = floats(logits_, count, config_.vocab_size);
    backend_.linear(normed.row_range(first, count), weights_.output(), out);
    logits(out, static_cast<size_t>(first));
  }
}

const Step& Forward::output_step(const Step& step, std::span<const int32_t> output_sequences) {
  output_rows_.clear();
  output_segments_.clear();
  output_sequences_.clear();
  for (int32_t index : output_sequences) {
    const StepSequence& sequence = step.sequences[static_cast<size_t>(index)];
    const int32_t last = sequence.rows - 1;
    output_rows_.push_back(sequence.first_row + last);
    for (StepSegment segment : sequence.segments) {
      segment.rotation += last;
      output_segments_.push_back(segment);
    }
  }
  // The spans are taken once the vector has its final place.
  const StepSegment* segments = output_segments_.data();
  for (int32_t index : output_sequences) {
    const StepSequence& sequence = step.sequences[static_cast<size_t>(index)];
    output_sequences_.push_back({static_cast<int32_t>(output_sequences_.size()),
                                 1,
                                 sequence.local_begin + sequence.rows - 1,
                                 {segments, sequence.segments.size()}});
    segments += sequence.segments.size();
  }
  // The tokens are not looked at by attention; the span carries the number of rows.
  output_step_ = {std::span<const int32_t>(output_rows_), output_sequences_};
  return output_step_;
}

double Forward::sequence_flops(const StepSequence& sequence, bool output) const {
  const double hidden = config_.hidden_size;
  const double qkv = 2.0 * hidden * config_.qkv_size();
  const double rest = 2.0 * hidden * config_.q_size() + 6.0 * hidden * config_.intermediate_size;
  const double pair = 4.0 * config_.head_dim * config_.num_heads;

  double flops = 0;
  for (int32_t index = 0; index < config_.num_layers; ++index) {
    const int32_t window = config_.windows[static_cast<size_t>(index)];
    flops += sequence.rows * qkv;
    if (index < config_.num_layers - 1) {
      flops += sequence.rows * rest +
               pair * static_cast<double>(visible_pairs(sequence, 0, sequence.rows, window));
    } else if (output) {
      flops +=
          rest + pair * static_cast<double>(visible_pairs(sequence, sequence.rows - 1, 1, window));
    }
  }
  return output ? flops + 2.0 * hidden * config_.vocab_size : flops;
}

}  // namespace block_attention
