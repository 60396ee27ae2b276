// The set of fused ops that a device implements (native/cpu, native/cuda), over plain views. The
// forward pass is written once over this interface. All calls come from one thread, the engine
// thread; none allocates after warm-up. A device may compute later than the call: what the caller
// gets to see (tokens, errors) is there after finish_step().
//
// The bits of every output element depend on that element's own inputs alone: not on the number of
// rows of the call, on threads, or on how work was dealt out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "model/sampling.hpp"
#include "model/step.hpp"

namespace block_attention {

enum class WeightFormat : uint8_t {
  kStored,  // the precision it came in
  kInt8,    // 8 bits and a scale for each group of inputs
};

// A matrix [out_features, in_features] in the backend's own layout, with an optional bias.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual int64_t out_features() const = 0;
  virtual int64_t in_features() const = 0;
  virtual WeightFormat format() const = 0;
  virtual size_t bytes() const = 0;
};

// A small float32 vector (norm weights).
class VectorWeight {
 public:
  virtual ~VectorWeight() = default;
  virtual int64_t size() const = 0;
};

struct AttentionConfig {
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  float scale = 0;               // of the scores, 1 / sqrt(head_dim)
  std::vector<double> inv_freq;  // rotary_dim / 2; the first rotary_dim dims of a head are rotated
                                 // (half-split pairs)
  double rope_attention_factor = 1;  // multiplies cos and sin
};

struct KvShape {
  int32_t num_layers = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBF16;
};

// The memory of a page pool. A page holds page_tokens() token slots of K and V for all layers and
// kv heads.
class KvStorage {
 public:
  virtual ~KvStorage() = default;
  virtual int32_t pages() const = 0;
  virtual int32_t page_tokens() const = 0;
  virtual size_t page_bytes() const = 0;
};

// What the backend works out once per step for attention; reused over layers, and over steps
// without allocating.
class AttentionPlan {
 public:
  virtual ~AttentionPlan() = default;
};

// RMSNorm per head of q and k before RoPE; null pointers where a model has none.
struct QkNorm {
  const VectorWeight* q = nullptr;
  const VectorWeight* k = nullptr;
  float eps = 0;
};

class PackedWeights;

class Backend {
 public:
  virtual ~Backend() = default;

  // E.g. "cpu avx512, 2 threads".
  virtual std::string description() const = 0;
  // Names whatever changes a bit of the results, and nothing else: kernel family, cut grid, compute
  // type. Backends of equal numerics give equal bits.
  virtual std::string numerics() const = 0;
  // Of what linear layers and attention read and write. The residual stream and the logits are
  // float32 on every backend.
  virtual DType activation_dtype() const = 0;
  // Of keys and values, if `asked` is what a caller wants, or does not say. Throws
  // Error(kUnsupported). Once the weights are made.
  virtual DType kv_dtype(std::optional<DType> asked) const = 0;
  // Rows of logits to compute and sample at a time: bounds the memory, and reads the LM head once
  // for that many.
  virtual int64_t logits_rows() const = 0;

  // For a cache of which nobody said how large it may be, once the weights are made: of a device
  // with memory of its own. 0: the process's memory is the caller's to deal out.
  virtual size_t default_cache_bytes() const = 0;
  // Throws Error(kOutOfMemory).
  virtual Buffer allocate(size_t bytes) = 0;

  // Stacks `parts` along the output features ([q; k; v], [gate; up]) into one weight. All parts
  // have the same dtype and in_features; `bias` is empty or has one value per output feature.
  // `input_norm`: the weight of the norm whose output it will multiply, which tells how large
  // inputs are beside each other; empty: nothing is known. Throws Error(kUnsupported) for a format
  // that the backend does not have.
  virtual std::unique_ptr<LinearWeight> make_linear(std::span<const HostMatrix> parts,
                                                    std::span<const float> bias,
                                                    std::span<const float> input_norm,
                                                    WeightFormat format) = 0;
  virtual std::unique_ptr<VectorWeight> make_vector(std::span<const float> values) = 0;
  // Where int8 weights can be taken out as they are packed and given back (packed_weights.hpp);
  // null: nowhere.
  virtual PackedWeights* packed_weights() { return nullptr; }

  virtual size_t kv_page_bytes(const KvShape& shape) const = 0;
  virtual int32_t kv_page_tokens() const = 0;
  virtual std::unique_ptr<KvStorage> make_kv_storage(const KvShape& shape, int32_t pages) = 0;

  // out[i] = row tokens[i] of the table; out is float32.
  virtual void embedding(const LinearWeight& table, std::span<const int32_t> tokens,
                         const Tensor& out) = 0;
  // out = x / sqrt(mean(x^2) + eps) * weight, row by row; x is float32. (Zhang & Sennrich 2019)
  virtual void rms_norm(const Tensor& x, const VectorWeight& weight, float eps,
                        const Tensor& out) = 0;
  // residual += delta; out = rms_norm(residual). residual is float32.
  virtual void add_rms_norm(const Tensor& residual, const Tensor& delta, const VectorWeight& weight,
                            float eps, const Tensor& out) = 0;
  // out = x * weight^T + bias; out is an activation or float32. Tensors may be column views (stride
  // > cols).
  virtual void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) = 0;
  // A hint: the linear op after the one that follows multiplies by `weight`. What is done with the
  // one that follows may ask memory for it.
  virtual void announce(const LinearWeight& weight) { static_cast<void>(weight); }
  // out = silu(gate) * up with gate_up = [gate | up]. (Shazeer 2020, eq. 6)
  virtual void swiglu(const Tensor& gate_up, const Tensor& out) = 0;
  // Both in one, the same bits. `gate_up` is room for what lies between and may hold anything
  // afterwards. Returns out or, in its memory, a packed form of it for `then`, the weight of the
  // linear op that takes it.
  virtual Tensor linear_swiglu(const Tensor& x, const LinearWeight& weight, const Tensor& gate_up,
                               const Tensor& out, const LinearWeight& then) {
    static_cast<void>(then);
    linear(x, weight, gate_up);
    swiglu(gate_up, out);
    return out;
  }
  // out[i] = x[rows[i]].
  virtual void gather_rows(const Tensor& x, std::span<const int32_t> rows, const Tensor& out) = 0;

  // Attention. configure_attention() comes first, once.
  virtual void configure_attention(const AttentionConfig& config) = 0;
  virtual std::unique_ptr<AttentionPlan> make_attention_plan() = 0;
  // The step must stay as it is until the plan is made anew, or finish_step().
  virtual void plan_attention(const Step& step, AttentionPlan& plan) = 0;
  // qkv [rows of the plan's step, (heads + 2 kv_heads) x head_dim]: norms q (in place, not rotated)
  // and k if asked, rotates k by its local position in its own block, and writes k and v to that
  // block's pages of `layer`.
  virtual void rope_store(const Tensor& qkv, const AttentionPlan& plan, const QkNorm& norm,
                          int32_t layer, KvStorage& kv) = 0;
  // out [rows, heads x head_dim] = attention of q (column view of qkv, not rotated) over the plan's
  // segments. window 0: none. (shared op of block encoding, final block and decoding:
  // Block-Attention, arXiv 2409.15355, section 2)
  virtual void attention(const Tensor& q, const AttentionPlan& plan, int32_t layer,
                         const KvStorage& kv, int32_t window, const Tensor& out) = 0;
  // Keys and values of a block as one contiguous copy, keys rotated on by `delta` positions:
  // out_k, out_v [length, kv_heads x head_dim], float32. For export, and as the baseline of the
  // benchmark.
  virtual void rope_rotate(const KvStorage& kv, std::span<const PageId> pages, int32_t length,
                           int32_t layer, int32_t delta, const Tensor& out_k,
                           const Tensor& out_v) = 0;

  // Copies pages, in all layers; what lies behind a copy's tokens may be copied too. No page is
  // copied to that is copied from, or twice. `copies` must stay until finish_step().
  virtual void copy_pages(std::span<const PageCopy> copies, KvStorage& kv) = 0;

  // Comes first in every step. Forgets what a step that failed has left.
  virtual void begin_step() = 0;

  // Draws one token per row of logits [rows, vocab] (not kept intact). `rows` and `out` must stay
  // until finish_step(), which fills in `out`.
  virtual void sample(const Tensor& logits, std::span<const SamplingRow> rows,
                      std::span<SampledToken> out) = 0;

  // Waits until all that was called for so far is computed; the step goes on. For taking times.
  virtual void wait() = 0;

  // Waits until all that was called for is computed, once per step. Throws what went wrong.
  virtual void finish_step() = 0;
};

}  // namespace block_attention
