#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cpu/attention.hpp"
#include "cpu/attention_kernels.hpp"
#include "cpu/copy_pages.hpp"
#include "cpu/cpu_vector.hpp"
#include "cpu/embedding.hpp"
#include "cpu/gated_part.hpp"
#include "cpu/host_memory.hpp"
#include "cpu/int8_linear.hpp"
#include "cpu/int8_weight.hpp"
#include "cpu/kv_storage.hpp"
#include "cpu/linear.hpp"
#include "cpu/linear_weight.hpp"
#include "cpu/rms_norm.hpp"
#include "cpu/sampling.hpp"
#include "cpu/swiglu.hpp"
#include "cpu/thread_pool.hpp"

namespace block_attention {
namespace {

// 32 rows of 150 000 logits are 19 MB.
constexpr int64_t kLogitsRows = 32;
// Rows of an elementwise op that one task takes: about the cost of waking a worker.
constexpr int64_t kRowsPerTask = 4;

class CpuBackend final : public Backend, private PackedWeights {
 public:
  CpuBackend(int threads, Isa isa)
      : isa_(isa),
        pool_(threads),
        linear_(pool_, isa),
        int8_linear_(pool_, isa, best_int8_dot(isa)),
        sampler_(isa, pool_),
        rms_norm_(rms_norm_kernels(isa)),
        swiglu_(swiglu_kernels(isa)) {}

  std::string description() const override {
    const int threads = pool_.threads();
    return std::string("cpu ") + isa_name(isa_) + ", " + std::to_string(threads) +
           (threads == 1 ? " thread" : " threads");
  }
  std::string numerics() const override {
    // AVX2 and AVX-512 sum in the same order and fuse the same operations. Dot products of bf16
    // round what weights, keys and values in bf16 are multiplied by.
#if defined(__aarch64__)
    const char* family = "neon";
#else
    const char* family = isa_ == Isa::kPortable     ? "portable"
                         : isa_ == Isa::kAvx512Bf16 ? "avx with bf16"
                         : isa_ == Isa::kAmxBf16    ? "amx with bf16"
                                                    : "avx";
#endif
    return std::string("cpu ") + family + (has_int8_ ? ", f32 and int8 by nine bits" : ", f32") +
           ", cuts of " + std::to_string(kCutKeys) + " keys";
  }
  DType activation_dtype() const override { return DType::kF32; }
  DType kv_dtype(std::optional<DType> asked) const override {
    if (asked == DType::kF16)
      throw Error(ErrorCode::kUnsupported,
                  "kvDtype f16: the CPU keeps keys and values in bf16, f32 or int8");
    return asked.value_or(DType::kBF16);
  }
  int64_t logits_rows() const override { return kLogitsRows; }
  size_t default_cache_bytes() const override { return 0; }
  Buffer allocate(size_t bytes) override { return allocate_host_memory(bytes); }

  std::unique_ptr<LinearWeight> make_linear(std::span<const HostMatrix> parts,
                                            std::span<const float> bias,
                                            std::span<const float> input_norm,
                                            WeightFormat format) override {
    if (format == WeightFormat::kStored) return pack_linear(pool_, isa_, parts, bias);
    has_int8_ = true;
    return pack_int8(pool_, isa_, best_int8_dot(isa_), parts, bias, input_norm);
  }
  std::unique_ptr<VectorWeight> make_vector(std::span<const float> values) override {
    return std::make_unique<CpuVector>(values);
  }
  PackedWeights* packed_weights() override { return this; }

  size_t kv_page_bytes(const KvShape& shape) const override {
    return CpuKvStorage::bytes_per_page(shape);
  }
  int32_t kv_page_tokens() const override { return CpuKvStorage::kPageTokens; }
  std::unique_ptr<KvStorage> make_kv_storage(const KvShape& shape, int32_t pages) override {
    return std::make_unique<CpuKvStorage>(shape, pages);
  }

  void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                 const Tensor& out) override {
    if (table.format() == WeightFormat::kInt8) {
      block_attention::embedding(pool_, int8(table), tokens, out);
    } else {
      block_attention::embedding(pool_, packed(table), tokens, out);
    }
  }
  void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                const Tensor& out) override {
    const float* w = vector(weight);
    for_rows(x.rows,
             [&](int64_t row) { rms_norm_.rms_norm(at(x, row), w, eps, x.cols, at(out, row)); });
  }
  void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                    float eps, const Tensor& out) override {
    const float* w = vector(weight);
    for_rows(residual.rows, [&](int64_t row) {
      rms_norm_.add_rms_norm(at(residual, row), at(delta, row), w, eps, residual.cols,
                             at(out, row));
    });
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    const NextReads next = announced_reads(x.rows);
    if (weight.format() == WeightFormat::kInt8) {
      int8_linear_.run(x, int8(weight), out, next);
    } else {
      linear_.run(x, packed(weight), out, next);
    }
  }
  void announce(const LinearWeight& weight) override { announced_ = &weight; }
  void swiglu(const Tensor& gate_up, const Tensor& out) override {
    for_rows(out.rows, [&](int64_t row) {
      const float* gate = at(gate_up, row);
      swiglu_.swiglu(gate, gate + out.cols, out.cols, at(out, row));
    });
  }
  Tensor linear_swiglu(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                       const Tensor& out, const LinearWeight& then) override {
    if (!can_be_gated(weight.out_features(), x.rows))
      return Backend::linear_swiglu(x, weight, gate_up, out, then);
    announced_ = nullptr;
    const Gate gate = {swiglu_.swiglu, out};
    if (weight.format() == WeightFormat::kInt8) {
      int8_linear_.run_gated(x, int8(weight), gate);
      return out;
    }
    const bool stored = then.format() == WeightFormat::kStored;
    return linear_.run_gated(x, packed(weight), gate, stored ? &packed(then) : nullptr);
  }
  void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) override {
    for (size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(at(out, static_cast<int64_t>(i)), at(x, rows[i]),
                  static_cast<size_t>(out.cols) * sizeof(float));
    }
  }

  void configure_attention(const AttentionConfig& config) override {
    attention_ = std::make_unique<CpuAttention>(pool_, isa_, config);
  }
  std::unique_ptr<AttentionPlan> make_attention_plan() override {
    return std::make_unique<AttentionTasks>();
  }
  void plan_attention(const Step& step, AttentionPlan& plan) override {
    attention_->plan(step, static_cast<AttentionTasks&>(plan));
  }
  void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm, int32_t layer,
                  KvStorage& kv) override {
    attention_->rope_store(qkv, static_cast<const AttentionTasks&>(plan).step(), norm, layer,
                           static_cast<CpuKvStorage&>(kv));
  }
  void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer, const KvStorage& kv,
                 int32_t window, const Tensor& out) override {
    attention_->run(q, static_cast<const AttentionTasks&>(plan), layer,
                    static_cast<const CpuKvStorage&>(kv), window, out);
  }
  void rope_rotate(const KvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k,
                   const Tensor& out_v) override {
    attention_->rope_rotate(static_cast<const CpuKvStorage&>(kv), pages, length, layer, delta,
                            out_k, out_v);
  }

  void copy_pages(std::span<const PageCopy> copies, KvStorage& kv) override {
    block_attention::copy_pages(pool_, copies, static_cast<CpuKvStorage&>(kv));
  }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows,
              std::span<SampledToken> out) override {
    sampler_.sample(logits, rows, out);
  }
  void begin_step() override { announced_ = nullptr; }
  void wait() override {}
  void finish_step() override {}

 private:
  std::string packed_layout() const override { return int8_layout(best_int8_dot(isa_)); }
  size_t packed_bytes(int64_t out_features, int64_t in_features) const override {
    return packed_int8_bytes(out_features, in_features);
  }
  std::span<const char> packed_view(const LinearWeight& weight) const override {
    return int8(weight).packed();
  }
  std::unique_ptr<LinearWeight> restore_linear(const PackedMatrix& matrix,
                                               std::span<const float> bias) override {
    has_int8_ = true;
    return restore_int8(pool_, best_int8_dot(isa_), matrix, bias);
  }

  static float* at(const Tensor& tensor, int64_t row) { return tensor.f32() + row * tensor.stride; }
  static const PackedLinear& packed(const LinearWeight& weight) {
    return static_cast<const PackedLinear&>(weight);
  }
  static const PackedInt8& int8(const LinearWeight& weight) {
    return static_cast<const PackedInt8&>(weight);
  }
  static const float* vector(const VectorWeight& weight) {
    return static_cast<const CpuVector&>(weight).data();
  }

  // Of the weight that was announced, once, if it will be read for as many rows.
  NextReads announced_reads(int64_t rows) {
    const LinearWeight* weight = std::exchange(announced_, nullptr);
    if (weight == nullptr) return {};
    if (weight->format() == WeightFormat::kInt8) return int8_linear_.reads(int8(*weight), rows);
    return linear_.reads(packed(*weight), rows);
  }

  template <typename Body>
  void for_rows(int64_t rows, Body body) {
    pool_.run_in_order((rows + kRowsPerTask - 1) / kRowsPerTask, [&](int64_t task, int) {
      const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
      for (int64_t row = task * kRowsPerTask; row < end; ++row) body(row);
    });
  }

  Isa isa_;
  ThreadPool pool_;
  LinearOp linear_;
  Int8LinearOp int8_linear_;
  Sampler sampler_;
  RmsNormKernels rms_norm_;
  SwigluKernels swiglu_;
  std::unique_ptr<CpuAttention> attention_;
  const LinearWeight* announced_ = nullptr;
  bool has_int8_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads, Isa isa) {
  return std::make_unique<CpuBackend>(threads, isa);
}

}  // namespace block_attention
