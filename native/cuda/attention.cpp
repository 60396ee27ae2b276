#include "cuda/attention.hpp"

#include <algorithm>
#include <numbers>
#include <string>
#include <utility>

#include "core/error.hpp"
#include "cuda/rope_rotate.hpp"
#include "cuda/tensor_check.hpp"
#include "model/rope_angles.hpp"

namespace block_attention::cuda {
namespace {

// Tiles of either kind that a multiprocessor computes at once, or one after the other: what more of
// them would balance better, they would lose to their beginnings.
constexpr int32_t kFewBlocks = 5;
constexpr int32_t kManyBlocks = 2;

AttentionConfig checked(AttentionConfig config) {
  const int32_t head_dim = config.head_dim;
  const bool known =
      head_dim > 0 && head_dim % 16 == 0 && (head_dim <= 128 || head_dim == kMaxHeadDim);
  if (!known) {
    throw Error(ErrorCode::kUnsupported,
                "head_dim " + std::to_string(head_dim) +
                    ": the GPU kernels take multiples of 16 up to 128, and 256");
  }
  if (config.num_kv_heads < 1 || config.num_heads < 1 ||
      config.num_heads % config.num_kv_heads != 0) {
    throw Error(ErrorCode::kUnsupported, std::to_string(config.num_heads) + " heads cannot share " +
                                             std::to_string(config.num_kv_heads) +
                                             " key-value heads evenly");
  }
  if (config.num_heads / config.num_kv_heads > kMaxGroup) {
    throw Error(ErrorCode::kUnsupported,
                "the GPU kernels take up to " + std::to_string(kMaxGroup) +
                    " query heads per key-value head, not " +
                    std::to_string(config.num_heads / config.num_kv_heads));
  }
  if (config.inv_freq.size() * 2 > static_cast<size_t>(head_dim)) {
    throw Error(ErrorCode::kUnsupported, "more dimensions are rotated than a head has");
  }
  return config;
}

}  // namespace

CudaAttention::CudaAttention(Device& device, StepArena& arena, AttentionConfig config,
                             AttentionKernel kernel)
    : device_(device),
      arena_(arena),
      config_(checked(std::move(config))),
      kernel_(kernel),
      group_(config_.num_heads / config_.num_kv_heads),
      table_(device, config_.inv_freq, config_.rope_attention_factor) {
  if (!has_attention_kernel(device.properties(), kernel_, config_.head_dim)) {
    throw Error(ErrorCode::kUnsupported, device.properties().name +
                                             " has no such kernel for a head_dim of " +
                                             std::to_string(config_.head_dim));
  }
}

AttentionPlanLimits CudaAttention::limits() const {
  const TileRows rows = attention_tile_rows(kernel_, config_.head_dim);
  return {
      .workers = device_.properties().multiprocessors * kManyBlocks,
      .num_kv_heads = config_.num_kv_heads,
      .group = group_,
      // Of cuts; most sequences leave partials of spans, which are fewer.
      .max_partial_floats = int64_t{128} << 20,
      .state_floats = config_.head_dim + 2,
      .cut_keys = kCutKeys,
      .page_tokens = kPageTokens,
      .max_fold_rows = rows.many,
      // A tile takes as long whether it is full or not.
      .min_fold_rows = rows.many,
      .max_shared_rows = 32,
      .max_split_rows = 512,
      .merge_rows = rows.many,
      // About 400 TFLOP/s against 4 TB/s: reading a key takes as long as 100 rows with it if it
      // comes from memory, and 30 if it comes from L2.
      .read_rows = 64,
      .partial_keys = 64,
      .tasks_per_worker = 1,
  };
}

void CudaAttention::plan(const Step& step, CudaAttentionPlan& plan, AttentionTasks::Mode mode) {
  plan.tasks_.build(step, limits(), mode);
  const int32_t multiprocessors = device_.properties().multiprocessors;
  plan.tiles_.build(plan.tasks_, {.kv_heads = config_.num_kv_heads,
                                  .group = group_,
                                  .rows = attention_tile_rows(kernel_, config_.head_dim),
                                  .few_workers = multiprocessors * kFewBlocks,
                                  .many_workers = multiprocessors * kManyBlocks});
  plan.places_.clear();
  for (const StepSequence& sequence : step.sequences) {
    const std::span<const PageId> pages = sequence.segments.back().pages;
    for (int32_t t = 0; t < sequence.rows; ++t) {
      const int32_t position = sequence.local_begin + t;
      plan.places_.push_back({pages[static_cast<size_t>(position / kPageTokens)], position});
    }
  }
  table_.ensure(plan.tasks_.positions());
  reserve_partials(plan.tiles_.partials());

  const AttentionTileList& tiles = plan.tiles_;
  AttentionLaunch& launch = plan.launch_;
  launch.arguments.tokens = arena_.upload(tiles.tokens());
  launch.arguments.segments = arena_.upload(tiles.segments());
  launch.arguments.pages = arena_.upload(tiles.pages());
  launch.arguments.merged = arena_.upload(tiles.merged());
  launch.few = arena_.upload(tiles.few());
  launch.many = arena_.upload(tiles.many());
  launch.counts = {static_cast<int32_t>(tiles.few().size()),
                   static_cast<int32_t>(tiles.many().size())};
  launch.merged = static_cast<int32_t>(tiles.merged().size());
  plan.device_places_ = arena_.upload(plan.places_);
}

void CudaAttention::reserve_partials(int64_t partials) {
  if (partials <= partials_) return;
  // What works with the old ones must be done.
  device_.synchronize();
  partials_ = 0;
  partial_outputs_ = {};
  partial_stats_ = {};
  const int64_t grown = partials + partials / 2;
  const auto count = static_cast<size_t>(grown);
  partial_outputs_ =
      device_.allocate(count * static_cast<size_t>(config_.head_dim) * sizeof(float));
  partial_stats_ = device_.allocate(count * 2 * sizeof(float));
  partials_ = grown;
}

void CudaAttention::rope_store(const Tensor& qkv, const CudaAttentionPlan& plan, const QkNorm& norm,
                               int32_t layer, const CudaKvStorage& kv) {
  if (qkv.rows != plan.tasks_.rows()) {
    refuse("rope_store", describe(qkv) + " does not fit a step of " +
                             std::to_string(plan.tasks_.rows()) + " rows");
  }
  cuda::rope_store(device_, qkv, plan.device_places_, table_.data(),
                   {config_.num_heads, config_.num_kv_heads, config_.head_dim, table_.half()}, norm,
                   layer, kv);
}

void CudaAttention::run(const Tensor& q, const CudaAttentionPlan& plan, int32_t layer,
                        const CudaKvStorage& kv, int32_t window, const Tensor& out) {
  const int64_t cols = int64_t{config_.num_heads} * config_.head_dim;
  const KvShape& pages = kv.shape();
  if (!is_half(q.dtype) || q.dtype != out.dtype || q.dtype != pages.dtype ||
      q.rows != plan.tasks_.rows() || out.rows != plan.tasks_.rows() || q.cols != cols ||
      out.cols != cols || !rows_apart(q) || !rows_apart(out) || !rows_aligned(q) ||
      !rows_aligned(out) || pages.num_kv_heads != config_.num_kv_heads ||
      pages.head_dim != config_.head_dim || layer < 0 || layer >= pages.num_layers || window < 0) {
    refuse("attention", describe(q) + " to " + describe(out) + " does not fit a step of " +
                            std::to_string(plan.tasks_.rows()) + " rows and pages of " +
                            dtype_name(pages.dtype));
  }
  AttentionLaunch launch = plan.launch_;
  AttentionArguments& arguments = launch.arguments;
  arguments.q = q.data;
  arguments.out = out.data;
  arguments.q_stride = q.stride;
  arguments.out_stride = out.stride;
  arguments.kv = kv.view();
  arguments.partials = {static_cast<float*>(partial_outputs_.data()),
                        static_cast<float*>(partial_stats_.data())};
  arguments.rope = table_.data();
  arguments.half = table_.half();
  arguments.layer = layer;
  arguments.kv_heads = config_.num_kv_heads;
  arguments.group = group_;
  arguments.head_dim = config_.head_dim;
  arguments.window = window;
  arguments.scale = static_cast<float>(config_.scale * std::numbers::log2e);
  launch.pool_rows = int64_t{2} * kPageTokens * pages.num_layers * pages.num_kv_heads * kv.pages();
  launch_attention(device_, q.dtype, kernel_, launch);
}

void CudaAttention::rope_rotate(const CudaKvStorage& kv, std::span<const PageId> pages,
                                int32_t length, int32_t layer, int32_t delta, const Tensor& out_k,
                                const Tensor& out_v) {
  const auto used = static_cast<size_t>((length + kPageTokens - 1) / kPageTokens);
  if (length < 0 || out_k.rows != length || out_v.rows != length || pages.size() < used) {
    refuse("rope_rotate", describe(out_k) + " and " + describe(out_v) + " do not fit " +
                              std::to_string(length) + " keys on " + std::to_string(pages.size()) +
                              " pages");
  }
  // The attention factor is in the stored keys already.
  std::vector<float> angles(2 * config_.inv_freq.size());
  rope_angles(config_.inv_freq, 1.0, delta, angles.data());
  cuda::rope_rotate(device_, kv, arena_.upload(pages.first(used)), layer, arena_.upload(angles),
                    table_.half(), out_k, out_v);
}

}  // namespace block_attention::cuda
