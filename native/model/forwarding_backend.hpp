// A backend that leaves everything to another one: the base of those that change or watch some ops.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "model/backend.hpp"

namespace block_attention {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  std::string description() const override { return backend_->description(); }
  std::string numerics() const override { return backend_->numerics(); }
  DType activation_dtype() const override { return backend_->activation_dtype(); }
  DType kv_dtype(std::optional<DType> asked) const override { return backend_->kv_dtype(asked); }
  int64_t logits_rows() const override { return backend_->logits_rows(); }
  size_t default_cache_bytes() const override { return backend_->default_cache_bytes(); }
  Buffer allocate(size_t bytes) override { return backend_->allocate(bytes); }

  std::unique_ptr<LinearWeight> make_linear(std::span<const HostMatrix> parts,
                                            std::span<const float> bias,
                                            std::span<const float> input_norm,
                                            WeightFormat format) override {
    return backend_->make_linear(parts, bias, input_norm, format);
  }
  std::unique_ptr<VectorWeight> make_vector(std::span<const float> values) override {
    return backend_->make_vector(values);
  }
  PackedWeights* packed_weights() override { return backend_->packed_weights(); }
  size_t kv_page_bytes(const KvShape& shape) const override {
    return backend_->kv_page_bytes(shape);
  }
  int32_t kv_page_tokens() const override { return backend_->kv_page_tokens(); }
  std::unique_ptr<KvStorage> make_kv_storage(const KvShape& shape, int32_t pages) override {
    return backend_->make_kv_storage(shape, pages);
  }

  void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                 const Tensor& out) override {
    backend_->embedding(table, tokens, out);
  }
  void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                const Tensor& out) override {
    backend_->rms_norm(x, weight, eps, out);
  }
  void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                    float eps, const Tensor& out) override {
    backend_->add_rms_norm(residual, delta, weight, eps, out);
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    backend_->linear(x, weight, out);
  }
  void announce(const LinearWeight& weight) override { backend_->announce(weight); }
  void swiglu(const Tensor& gate_up, const Tensor& out) override { backend_->swiglu(gate_up, out); }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) override {
    backend_->gather_rows(x, rows, out);
  }

  void configure_attention(const AttentionConfig& config) override {
    backend_->configure_attention(config);
  }
  std::unique_ptr<AttentionPlan> make_attention_plan() override {
    return backend_->make_attention_plan();
  }
  void plan_attention(const Step& step, AttentionPlan& plan) override {
    backend_->plan_attention(step, plan);
  }
  void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm, int32_t layer,
                  KvStorage& kv) override {
    backend_->rope_store(qkv, plan, norm, layer, kv);
  }
  void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer, const KvStorage& kv,
                 int32_t window, const Tensor& out) override {
    backend_->attention(q, plan, layer, kv, window, out);
  }
  void rope_rotate(const KvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k,
                   const Tensor& out_v) override {
    backend_->rope_rotate(kv, pages, length, layer, delta, out_k, out_v);
  }

  void copy_pages(std::span<const PageCopy> copies, KvStorage& kv) override {
    backend_->copy_pages(copies, kv);
  }

  void begin_step() override { backend_->begin_step(); }
  void sample(const Tensor& logits, std::span<const SamplingRow> rows,
              std::span<SampledToken> out) override {
    backend_->sample(logits, rows, out);
  }
  void wait() override { backend_->wait(); }
  void finish_step() override { backend_->finish_step(); }

 protected:
  Backend& next() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace block_attention
