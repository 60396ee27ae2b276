// Attention on a GPU: one op for block encoding, the final block and decoding (Block-Attention,
// arXiv 2409.15355, section 2). Keys are stored rotated by their position in their own block; a
// query is rotated, once per segment, by its distance to the block's start, which gives the scores
// of global positions: R(m) q . R(o + j) k = R(m - o) q . R(j) k.
//
// The bits of a row depend on the row, its keys and the kernel alone: not on the plan, the batch or
// the device's number of multiprocessors.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/attention_launch.hpp"
#include "cuda/attention_tile_list.hpp"
#include "cuda/device.hpp"
#include "cuda/kv_storage.hpp"
#include "cuda/rope_store.hpp"
#include "cuda/rope_table.hpp"
#include "cuda/step_arena.hpp"
#include "model/attention_plan.hpp"
#include "model/backend.hpp"

namespace block_attention::cuda {

// A step's plan and its arrays on the device, which lie in the step's arena.
class CudaAttentionPlan final : public AttentionPlan {
 public:
  const AttentionTasks& tasks() const { return tasks_; }
  const AttentionTileList& tiles() const { return tiles_; }

 private:
  friend class CudaAttention;

  AttentionTasks tasks_;
  AttentionTileList tiles_;
  std::vector<RowPlace> places_;
  AttentionLaunch launch_{};  // what does not depend on the layer
  const RowPlace* device_places_ = nullptr;
};

class CudaAttention {
 public:
  // Throws Error(kUnsupported) for a shape that the kernels do not take, or the device not by the
  // kernel that is named.
  CudaAttention(Device& device, StepArena& arena, AttentionConfig config,
                AttentionKernel kernel = AttentionKernel::kMma);

  // The ops of model/backend.hpp with these names. A plan refers to the step's page lists until it
  // is made anew, and to the arena until that is reset. q, qkv and out have the pages' type, bf16
  // or f16, and 16-byte aligned rows. Throw Error(kInvalidArgument) for views that do not fit.
  void plan(const Step& step, CudaAttentionPlan& plan,
            AttentionTasks::Mode mode = AttentionTasks::Mode::kAuto);
  void rope_store(const Tensor& qkv, const CudaAttentionPlan& plan, const QkNorm& norm,
                  int32_t layer, const CudaKvStorage& kv);
  void run(const Tensor& q, const CudaAttentionPlan& plan, int32_t layer, const CudaKvStorage& kv,
           int32_t window, const Tensor& out);
  void rope_rotate(const CudaKvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k, const Tensor& out_v);

 private:
  AttentionPlanLimits limits() const;
  void reserve_partials(int64_t partials);

  Device& device_;
  StepArena& arena_;
  AttentionConfig config_;
  AttentionKernel kernel_;
  int32_t group_;
  CudaRopeTable table_;
  Buffer partial_outputs_;
  Buffer partial_stats_;
  int64_t partials_ = 0;  // that there is room for
};

}  // namespace block_attention::cuda
