// Random attention cases (attention_cases.hpp) run through the GPU's rope_store and attention, in
// any schedule and with any kernel.
#pragma once

#include <vector>

#include "attention_cases.hpp"
#include "attention_schedules.hpp"
#include "cuda/attention.hpp"
#include "device_array.hpp"
#include "half_precision.hpp"

namespace block_attention::cuda::test {

using block_attention::test::AttentionCase;
using block_attention::test::CaseChunk;
using block_attention::test::CasePages;
using block_attention::test::CaseSequence;
using block_attention::test::CaseStep;
using block_attention::test::TokenRows;
using Mode = AttentionTasks::Mode;

// q, k and v as activations of the pages' type.
inline void round_tokens(AttentionCase& c) {
  for (TokenRows& block : c.blocks) block.qkv = rounded(std::move(block.qkv), c.kv_dtype);
  for (CaseSequence& s : c.sequences) s.own.qkv = rounded(std::move(s.own.qkv), c.kv_dtype);
}

// The case in the pages of a pool whose every byte was poison, in layer 1 of 2, on random pages.
class AttentionSetup {
 public:
  AttentionSetup(Device& device, const AttentionCase& c, uint64_t page_seed,
                 AttentionKernel kernel = AttentionKernel::kMma)
      : device_(device),
        case_(c),
        arena_(device),
        attention_(device, arena_, c.config, kernel),
        pages_(c, page_seed),
        kv_(device, {2, c.config.num_kv_heads, c.config.head_dim, c.kv_dtype}, pages_.pages()) {
    const std::vector<unsigned char> poison(pool_bytes(), 0xff);  // NaN
    write_device(device, kv_.view().data, poison.data(), poison.size());
    store_earlier(c, pages_, [this](const CaseStep& step) { store(step); });
  }

  // One step of these chunks: rope_store, then attention. Their rows, in order, densely.
  std::vector<float> step(const std::vector<CaseChunk>& chunks, Mode mode = Mode::kAuto) {
    const CaseStep step = make_step(case_, pages_, chunks);
    attention_.plan(step.step(), plan_, mode);
    const DeviceTensor qkv = to_device(step);
    attention_.rope_store(qkv.view(), plan_, {}, 1, kv_);
    const DeviceTensor out(device_, case_.kv_dtype, step.rows(), case_.cols(), case_.cols() + 8);
    attention_.run(qkv.view().columns(0, case_.cols()), plan_, 1, kv_, case_.window, out.view());
    std::vector<float> rows = out.read();
    arena_.reset();
    return rows;
  }
  std::vector<float> whole(Mode mode = Mode::kAuto) { return step(whole_case(case_), mode); }

  // What the pages hold now, for k_at() and v_at().
  void read_pages() {
    pool_.resize(pool_bytes());
    read_device(device_, pool_.data(), kv_.view().data, pool_.size());
  }
  double k_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return element_at(kv_.view().k(pages[static_cast<size_t>(token / 16)], 1, head), token, dim);
  }
  double v_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return element_at(kv_.view().v(pages[static_cast<size_t>(token / 16)], 1, head), token, dim);
  }
  const CasePages& pages() const { return pages_; }
  const CudaAttentionPlan& plan() const { return plan_; }

 private:
  size_t pool_bytes() const { return kv_.page_bytes() * static_cast<size_t>(pages_.pages()); }
  double element_at(const char* part, int32_t token, int32_t dim) const {
    return load_as_f32(pool_.data() + (part - kv_.view().data), case_.kv_dtype,
                       static_cast<size_t>(token % 16 * case_.config.head_dim + dim));
  }

  DeviceTensor to_device(const CaseStep& step) const {
    return {device_, case_.kv_dtype, step.rows(), case_.qkv_cols(), case_.qkv_cols() + 8, step.qkv};
  }
  void store(const CaseStep& step) {
    attention_.plan(step.step(), plan_);
    const DeviceTensor qkv = to_device(step);
    attention_.rope_store(qkv.view(), plan_, {}, 1, kv_);
    device_.synchronize();
    arena_.reset();
  }

  Device& device_;
  const AttentionCase& case_;
  StepArena arena_;
  CudaAttention attention_;
  CudaAttentionPlan plan_;
  CasePages pages_;
  CudaKvStorage kv_;
  std::vector<unsigned char> pool_;
};

}  // namespace block_attention::cuda::test
