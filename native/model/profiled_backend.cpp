#include "model/profiled_backend.hpp"

#include <string>
#include <unordered_map>
#include <utility>

namespace block_attention {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kNames[] = {
    "plan_attention", "embedding",   "rms_norm", "add_rms_norm", "qkv",    "rope_store",
    "attention",      "gather_rows", "o",        "gate_up",      "swiglu", "down",
    "lm_head",        "sample",      "other"};
static_assert(std::size(kNames) == static_cast<size_t>(ProfiledOp::kOther) + 1);

class ProfiledBackend final : public Backend {
 public:
  ProfiledBackend(std::unique_ptr<Backend> backend, const ModelWeights& weights, OpTimes& times)
      : backend_(std::move(backend)), times_(times) {
    for (const LayerWeights& layer : weights.layers) {
      linears_.emplace(layer.qkv.get(), ProfiledOp::kQkv);
      linears_.emplace(layer.o.get(), ProfiledOp::kO);
      linears_.emplace(layer.gate_up.get(), ProfiledOp::kGateUp);
      linears_.emplace(layer.down.get(), ProfiledOp::kDown);
    }
    linears_.emplace(&weights.output(), ProfiledOp::kLmHead);
  }

  std::string description() const override { return backend_->description(); }
  std::string numerics() const override { return backend_->numerics(); }
  DType activation_dtype() const override { return backend_->activation_dtype(); }
  DType kv_dtype(std::optional<DType> asked) const override { return backend_->kv_dtype(asked); }
  int64_t logits_rows() const override { return backend_->logits_rows(); }
  size_t default_cache_bytes() const override { return backend_->default_cache_bytes(); }
  Buffer allocate(size_t bytes) override { return backend_->allocate(bytes); }

  std::unique_ptr<LinearWeight> make_linear(std::span<const HostMatrix> parts,
                                            std::span<const float> bias,
                                            WeightFormat format) override {
    return backend_->make_linear(parts, bias, format);
  }
  std::unique_ptr<VectorWeight> make_vector(std::span<const float> values) override {
    return backend_->make_vector(values);
  }
  size_t kv_page_bytes(const KvShape& shape) const override {
    return backend_->kv_page_bytes(shape);
  }
  int32_t kv_page_tokens() const override { return backend_->kv_page_tokens(); }
  std::unique_ptr<KvStorage> make_kv_storage(const KvShape& shape, int32_t pages) override {
    return backend_->make_kv_storage(shape, pages);
  }
  void configure_attention(const AttentionConfig& config) override {
    backend_->configure_attention(config);
  }
  std::unique_ptr<AttentionPlan> make_attention_plan() override {
    return backend_->make_attention_plan();
  }

  void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                 const Tensor& out) override {
    timed(ProfiledOp::kEmbedding, [&] { backend_->embedding(table, tokens, out); });
  }
  void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                const Tensor& out) override {
    timed(ProfiledOp::kRmsNorm, [&] { backend_->rms_norm(x, weight, eps, out); });
  }
  void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                    float eps, const Tensor& out) override {
    timed(ProfiledOp::kAddRmsNorm,
          [&] { backend_->add_rms_norm(residual, delta, weight, eps, out); });
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    timed(linears_.at(&weight), [&] { backend_->linear(x, weight, out); });
  }
  void swiglu(const Tensor& gate_up, const Tensor& out) override {
    timed(ProfiledOp::kSwiglu, [&] { backend_->swiglu(gate_up, out); });
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) override {
    timed(ProfiledOp::kGatherRows, [&] { backend_->gather_rows(x, rows, out); });
  }
  void plan_attention(const Step& step, AttentionPlan& plan) override {
    timed(ProfiledOp::kPlanAttention, [&] { backend_->plan_attention(step, plan); });
  }
  void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm, int32_t layer,
                  KvStorage& kv) override {
    timed(ProfiledOp::kRopeStore, [&] { backend_->rope_store(qkv, plan, norm, layer, kv); });
  }
  void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer, const KvStorage& kv,
                 int32_t window, const Tensor& out) override {
    timed(ProfiledOp::kAttention, [&] { backend_->attention(q, plan, layer, kv, window, out); });
  }
  void sample(const Tensor& logits, std::span<const SamplingRow> rows,
              std::span<SampledToken> out) override {
    timed(ProfiledOp::kSample, [&] { backend_->sample(logits, rows, out); });
  }
  // No part of a step.
  void rope_rotate(const KvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k,
                   const Tensor& out_v) override {
    backend_->rope_rotate(kv, pages, length, layer, delta, out_k, out_v);
  }

  void begin_step() override {
    step_begin_ = Clock::now();
    in_ops_ = {};
    backend_->begin_step();
  }
  void wait() override { backend_->wait(); }
  void finish_step() override {
    backend_->finish_step();
    times_.add(ProfiledOp::kOther, Clock::now() - step_begin_ - in_ops_);
  }

 private:
  template <typename Call>
  void timed(ProfiledOp op, Call call) {
    const Clock::time_point begin = Clock::now();
    call();
    backend_->wait();
    const Clock::duration time = Clock::now() - begin;
    times_.add(op, time);
    in_ops_ += time;
  }

  std::unique_ptr<Backend> backend_;
  OpTimes& times_;
  std::unordered_map<const LinearWeight*, ProfiledOp> linears_;
  Clock::time_point step_begin_;
  Clock::duration in_ops_{};  // of the step that runs
};

}  // namespace

void OpTimes::add(ProfiledOp op, std::chrono::nanoseconds time) {
  Sum& sum = sums_[static_cast<size_t>(op)];
  sum.calls.fetch_add(1, std::memory_order_relaxed);
  sum.nanoseconds.fetch_add(time.count(), std::memory_order_relaxed);
}

std::vector<OpTime> OpTimes::read() const {
  std::vector<OpTime> times;
  times.reserve(kOps);
  for (size_t op = 0; op < kOps; ++op) {
    const auto nanoseconds = sums_[op].nanoseconds.load(std::memory_order_relaxed);
    times.push_back({kNames[op], sums_[op].calls.load(std::memory_order_relaxed),
                     static_cast<double>(nanoseconds) / 1e6});
  }
  return times;
}

std::unique_ptr<Backend> make_profiled_backend(std::unique_ptr<Backend> backend,
                                               const ModelWeights& weights, OpTimes& times) {
  return std::make_unique<ProfiledBackend>(std::move(backend), weights, times);
}

}  // namespace block_attention
