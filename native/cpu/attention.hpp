// Attention on the CPU: one op for block encoding, the final block and decoding (Block-Attention,
// arXiv 2409.15355, section 2). Keys are stored rotated by their position in their own block; a
// query is rotated, once per cut, by its distance to the block's start, which gives the scores of
// global positions: R(m) q . R(o + j) k = R(m - o) q . R(j) k.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/aligned_floats.hpp"
#include "cpu/attention_kernels.hpp"
#include "cpu/isa.hpp"
#include "cpu/kv_storage.hpp"
#include "cpu/rope.hpp"
#include "cpu/rope_rotate.hpp"
#include "cpu/rope_table.hpp"
#include "cpu/thread_pool.hpp"
#include "model/attention_plan.hpp"
#include "model/backend.hpp"

namespace block_attention {

class CpuAttention {
 public:
  // Throws Error(kUnsupported) for a shape that the kernels do not take.
  CpuAttention(ThreadPool& pool, Isa isa, AttentionConfig config);

  // The ops of model/backend.hpp with these names. A plan refers to the step's page lists until it
  // is made anew.
  void plan(const Step& step, AttentionTasks& plan,
            AttentionTasks::Mode mode = AttentionTasks::Mode::kAuto);
  void rope_store(const Tensor& qkv, const Step& step, const QkNorm& norm, int32_t layer,
                  CpuKvStorage& kv) {
    rope_store_.run(qkv, step, norm, table_, layer, kv);
  }
  void run(const Tensor& q, const AttentionTasks& plan, int32_t layer, const CpuKvStorage& kv,
           int32_t window, const Tensor& out);
  void rope_rotate(const CpuKvStorage& kv, std::span<const PageId> pages, int32_t length,
                   int32_t layer, int32_t delta, const Tensor& out_k, const Tensor& out_v) {
    rope_rotate_.run(kv, pages, length, layer, delta, out_k, out_v);
  }

 private:
  // What one run of the op works on.
  struct Call {
    const Tensor& q;
    const AttentionTasks& plan;
    int32_t layer;
    const CpuKvStorage& kv;
    int32_t window;
    const Tensor& out;
  };
  struct Worker {
    std::vector<AttentionRow> task_rows;  // what of them does not depend on the cut
    std::vector<AttentionRow> rows;       // of the cut being worked on
    AlignedFloats scratch;
    AlignedFloats states;
  };
  void fold(const Call& call, const AttentionTasks::FoldTask& task, int32_t kv_head,
            Worker& worker) const;
  void split(const Call& call, const AttentionTasks::SplitTask& task,
             const AttentionTasks::SplitTask* next, int32_t kv_head, int32_t next_kv_head,
             Worker& worker) const;
  void merge(const Call& call, const AttentionTasks::MergeTask& task, int32_t kv_head,
             Worker& worker) const;

  void make_rows(const Call& call, const AttentionTasks::Sequence& sequence, int32_t first_token,
                 int32_t tokens, int32_t kv_head, float* states, Worker& worker) const;
  void aim(const AttentionTasks::Segment& segment, int32_t cut, int32_t first_token, int32_t window,
           Worker& worker) const;
  AttentionCut cut_of(const Call& call, const AttentionTasks::Segment& segment, int32_t cut,
                      int32_t kv_head) const;
  void attend(const AttentionCut& cut, const AttentionCut* next, Worker& worker) const;
  void clear(float* states, int64_t count) const;
  void finish(const Call& call, const AttentionTasks::Sequence& sequence, int32_t first_token,
              int32_t tokens, int32_t kv_head, const float* states) const;
  float* partials(const AttentionTasks::Sequence& sequence, int32_t kv_head, int32_t cut,
                  int32_t token) const;

  ThreadPool& pool_;
  AttentionConfig config_;
  int32_t group_;
  int32_t state_size_;
  int32_t max_tokens_;  // whose rows a worker has room for
  AttentionShape shape_;
  AttentionKernels kernels_;
  RopeTable table_;
  RopeStore rope_store_;
  RopeRotate rope_rotate_;
  std::vector<Worker> workers_;
  AlignedFloats partials_;
};

}  // namespace block_attention
