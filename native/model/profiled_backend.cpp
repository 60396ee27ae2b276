#include "model/profiled_backend.hpp"

#include <unordered_map>
#include <utility>

#include "model/forwarding_backend.hpp"

namespace block_attention {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kNames[] = {
    "copy_pages", "plan_attention", "embedding", "rms_norm",    "add_rms_norm",
    "qkv",        "rope_store",     "attention", "gather_rows", "o",
    "gate_up",    "down",           "lm_head",   "sample",      "other"};
static_assert(std::size(kNames) == static_cast<size_t>(ProfiledOp::kOther) + 1);

class ProfiledBackend final : public ForwardingBackend {
 public:
  ProfiledBackend(std::unique_ptr<Backend> backend, const ModelWeights& weights, OpTimes& times)
      : ForwardingBackend(std::move(backend)), times_(times) {
    for (const LayerWeights& layer : weights.layers) {
      linears_.emplace(layer.qkv.get(), ProfiledOp::kQkv);
      linears_.emplace(layer.o.get(), ProfiledOp::kO);
      linears_.emplace(layer.gate_up.get(), ProfiledOp::kGateUp);
      linears_.emplace(layer.down.get(), ProfiledOp::kDown);
    }
    linears_.emplace(&weights.output(), ProfiledOp::kLmHead);
  }

  void copy_pages(std::span<const PageCopy> copies, KvStorage& kv) override {
    timed(ProfiledOp::kCopyPages, [&] { next().copy_pages(copies, kv); });
  }
  void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                 const Tensor& out) override {
    timed(ProfiledOp::kEmbedding, [&] { next().embedding(table, tokens, out); });
  }
  void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                const Tensor& out) override {
    timed(ProfiledOp::kRmsNorm, [&] { next().rms_norm(x, weight, eps, out); });
  }
  void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                    float eps, const Tensor& out) override {
    timed(ProfiledOp::kAddRmsNorm, [&] { next().add_rms_norm(residual, delta, weight, eps, out); });
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    timed(linears_.at(&weight), [&] { next().linear(x, weight, out); });
  }
  Tensor linear_swiglu(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                       const Tensor& out, const LinearWeight& then) override {
    Tensor result;
    timed(linears_.at(&weight),
          [&] { result = next().linear_swiglu(x, weight, gate_up, out, then); });
    return result;
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) override {
    timed(ProfiledOp::kGatherRows, [&] { next().gather_rows(x, rows, out); });
  }
  void plan_attention(const Step& step, AttentionPlan& plan) override {
    timed(ProfiledOp::kPlanAttention, [&] { next().plan_attention(step, plan); });
  }
  void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm, int32_t layer,
                  KvStorage& kv) override {
    timed(ProfiledOp::kRopeStore, [&] { next().rope_store(qkv, plan, norm, layer, kv); });
  }
  void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer, const KvStorage& kv,
                 int32_t window, const Tensor& out) override {
    timed(ProfiledOp::kAttention, [&] { next().attention(q, plan, layer, kv, window, out); });
  }
  void sample(const Tensor& logits, std::span<const SamplingRow> rows,
              std::span<SampledToken> out) override {
    timed(ProfiledOp::kSample, [&] { next().sample(logits, rows, out); });
  }

  void begin_step() override {
    step_begin_ = Clock::now();
    in_ops_ = {};
    next().begin_step();
  }
  void finish_step() override {
    next().finish_step();
    times_.add(ProfiledOp::kOther, Clock::now() - step_begin_ - in_ops_);
  }

 private:
  template <typename Call>
  void timed(ProfiledOp op, Call call) {
    const Clock::time_point begin = Clock::now();
    call();
    next().wait();
    const Clock::duration time = Clock::now() - begin;
    times_.add(op, time);
    in_ops_ += time;
  }

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
