#include "cuda/cuda_backend.hpp"

#include <optional>
#include <string>

#include "core/error.hpp"
#include "cuda/attention.hpp"
#include "cuda/attention_tiles.hpp"
#include "cuda/copy_pages.hpp"
#include "cuda/device.hpp"
#include "cuda/embedding.hpp"
#include "cuda/gather_rows.hpp"
#include "cuda/kv_storage.hpp"
#include "cuda/linear.hpp"
#include "cuda/linear_weight.hpp"
#include "cuda/rms_norm.hpp"
#include "cuda/sampling.hpp"
#include "cuda/step_arena.hpp"
#include "cuda/swiglu.hpp"

namespace block_attention::cuda {
namespace {

// 64 rows of 150 000 logits are 38 MB.
constexpr int64_t kLogitsRows = 64;
// The share of the free memory that a cache without a stated size takes: the rest is for what a
// step turns out to need, and for cuBLASLt's and the driver's own.
constexpr double kCacheShare = 0.85;

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaBackendOptions& options)
      : device_(options.ordinal),
        uploads_(device_),
        linear_(device_, options.deterministic),
        sampler_(device_, uploads_) {}

  std::string description() const override {
    std::string text = "cuda " + device_.properties().name + ", linear by " + linear_.description();
    if (!linear_.problem().empty()) text += " (" + linear_.problem() + ")";
    return text;
  }
  std::string numerics() const override {
    // The tensor cores of two generations need not add in the same order.
    return "cuda sm_" + std::to_string(device_.properties().compute_capability) + ", " +
           dtype_name(activation_dtype()) + ", " + linear_.description() + ", cuts of " +
           std::to_string(kCutKeys) + " keys, spans of " + std::to_string(kSpanCuts);
  }
  DType activation_dtype() const override { return element_.value_or(DType::kBF16); }
  DType kv_dtype(std::optional<DType> asked) const override {
    if (asked.value_or(activation_dtype()) == activation_dtype()) return activation_dtype();
    throw Error(ErrorCode::kUnsupported,
                std::string("kvDtype ") + dtype_name(*asked) +
                    ": on a GPU keys and values are of the activations' type, here " +
                    dtype_name(activation_dtype()) + "; leave kvDtype out");
  }
  int64_t logits_rows() const override { return kLogitsRows; }
  size_t default_cache_bytes() const override {
    return static_cast<size_t>(static_cast<double>(device_.free_bytes()) * kCacheShare);
  }
  Buffer allocate(size_t bytes) override { return device_.allocate(bytes); }

  std::unique_ptr<LinearWeight> make_linear(std::span<const HostMatrix> parts,
                                            std::span<const float> bias,
                                            std::span<const float> /*input_norm*/,
                                            WeightFormat format) override {
    if (format != WeightFormat::kStored) {
      throw Error(ErrorCode::kUnsupported,
                  "dtype int8: the GPU computes with 16-bit weights; leave dtype out there, or use "
                  "device \"cpu\"");
    }
    // The first matrix decides for the whole model: f16 stays, bf16 and f32 become bf16, whose
    // range is float32's.
    if (!element_ && !parts.empty()) {
      element_ = parts[0].dtype == DType::kF16 ? DType::kF16 : DType::kBF16;
    }
    return upload_linear(device_, staging(), parts, bias, activation_dtype());
  }
  std::unique_ptr<VectorWeight> make_vector(std::span<const float> values) override {
    return upload_vector(device_, staging(), values);
  }

  size_t kv_page_bytes(const KvShape& shape) const override {
    return CudaKvStorage::bytes_per_page(shape);
  }
  int32_t kv_page_tokens() const override { return kPageTokens; }
  std::unique_ptr<KvStorage> make_kv_storage(const KvShape& shape, int32_t pages) override {
    // Weights come first: they are all there.
    staging_.reset();
    return std::make_unique<CudaKvStorage>(device_, shape, pages);
  }

  void begin_step() override {
    // What a step that failed left on the stream may still use the arena.
    if (step_open_) device_.synchronize();
    sampler_.cancel();
    uploads_.reset();
    step_open_ = true;
  }
  void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                 const Tensor& out) override {
    check_tokens(weight(table), tokens);
    cuda::embedding(device_, weight(table), uploads_.upload(tokens), out);
  }
  void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                const Tensor& out) override {
    cuda::rms_norm(device_, x, vector(weight), eps, out);
  }
  void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                    float eps, const Tensor& out) override {
    cuda::add_rms_norm(device_, residual, delta, vector(weight), eps, out);
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    linear_.run(x, this->weight(weight), out);
  }
  void swiglu(const Tensor& gate_up, const Tensor& out) override {
    cuda::swiglu(device_, gate_up, out);
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) override {
    cuda::gather_rows(device_, x, uploads_.upload(rows), out);
  }

  void configure_attention(const AttentionConfig& config) override {
    attention_.emplace(device_, uploads_, config,
                       chosen_attention_kernel(device_.properties(), config.head_dim));
  }
  std::unique_ptr<AttentionPlan> make_attention_plan() override {
    return std::make_unique<CudaAttentionPlan>();
  }
  void plan_attention(const Step& step, AttentionPlan& plan) override {
    attention_->plan(step, static_cast<CudaAttentionPlan&>(plan));
  }
  void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm, int32_t layer,
                  KvStorage& kv) override {
    attention_->rope_store(qkv, static_cast<const CudaAttentionPlan&>(plan), norm, layer,
                           storage(kv));
  }
  void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer, const KvStorage& kv,
                 int32_t window, const Tensor& out) override {
    attention_->run(q, static_cast<const CudaAttentionPlan&>(plan), layer, storage(kv), window,
                    out);
  }
  void rope_rotate(const KvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k,
                   const Tensor& out_v) override {
    attention_->rope_rotate(storage(kv), pages, length, layer, delta, out_k, out_v);
  }

  void copy_pages(std::span<const PageCopy> copies, KvStorage& kv) override {
    cuda::copy_pages(device_, uploads_.upload(copies), copies.size(), storage(kv));
  }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows,
              std::span<SampledToken> out) override {
    sampler_.sample(logits, rows, out);
  }
  void wait() override { device_.synchronize(); }
  void finish_step() override {
    device_.synchronize();
    step_open_ = false;
    sampler_.finish();
    uploads_.reset();
  }

 private:
  static const CudaLinearWeight& weight(const LinearWeight& weight) {
    return static_cast<const CudaLinearWeight&>(weight);
  }
  static const CudaVector& vector(const VectorWeight& weight) {
    return static_cast<const CudaVector&>(weight);
  }
  static const CudaKvStorage& storage(const KvStorage& kv) {
    return static_cast<const CudaKvStorage&>(kv);
  }
  static CudaKvStorage& storage(KvStorage& kv) { return static_cast<CudaKvStorage&>(kv); }

  PinnedStaging& staging() {
    if (!staging_) staging_.emplace(device_);
    return *staging_;
  }

  Device device_;
  StepArena uploads_;
  CudaLinear linear_;
  CudaSampler sampler_;
  std::optional<CudaAttention> attention_;
  std::optional<PinnedStaging> staging_;  // while a model is loaded
  std::optional<DType> element_;
  bool step_open_ = false;  // begun, not finished: it runs, or it failed
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const CudaBackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

}  // namespace block_attention::cuda
