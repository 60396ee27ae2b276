// Random attention cases (attention_cases.hpp) run through the CPU's rope_store and attention, in
// any schedule.
#pragma once

#include <memory>
#include <vector>

#include "attention_cases.hpp"
#include "attention_schedules.hpp"
#include "cpu/attention.hpp"

namespace block_attention::test {

// The case in the pages of a pool whose every byte was poison, in layer 1 of 2, on random pages.
class AttentionSetup {
 public:
  AttentionSetup(const AttentionCase& c, Isa isa, int threads, uint64_t page_seed)
      : case_(c), pool_(threads), attention_(pool_, isa, c.config), pages_(c, page_seed) {
    const KvShape shape = {2, c.config.num_kv_heads, c.config.head_dim, c.kv_dtype};
    kv_ = std::make_unique<CpuKvStorage>(shape, pages_.pages());
    std::memset(kv_->k(0, 0, 0), 0xff,
                kv_->page_bytes() * static_cast<size_t>(pages_.pages()));  // NaN in bf16 and f32
    store_earlier(c, pages_, [this](CaseStep step) { store(std::move(step)); });
  }

  std::vector<CaseChunk> whole() const { return whole_case(case_); }

  // One step of these chunks: rope_store, then attention. Their rows, in order, densely.
  std::vector<float> step(const std::vector<CaseChunk>& chunks,
                          AttentionTasks::Mode mode = AttentionTasks::Mode::kAuto) {
    CaseStep step = make_step(case_, pages_, chunks);
    attention_.plan(step.step(), plan_, mode);
    store(step);

    const int32_t rows = step.rows();
    const int32_t stride = case_.cols() + 5;
    std::vector<float> out = poisoned(static_cast<size_t>(rows) * stride);
    attention_.run(qkv_view(step).columns(0, case_.cols()), plan_, 1, *kv_, case_.window,
                   {out.data(), DType::kF32, rows, case_.cols(), stride});
    std::vector<float> dense;
    for (int32_t row = 0; row < rows; ++row) {
      const auto at = out.begin() + int64_t{row} * stride;
      dense.insert(dense.end(), at, at + case_.cols());
      for (int32_t i = case_.cols(); i < stride; ++i)
        EXPECT_TRUE(std::isnan(at[i])) << "wrote beside the row";
    }
    return dense;
  }

  double k_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return kv_->key(pages[static_cast<size_t>(token / 16)], 1, head, token % 16, dim);
  }
  double v_at(const std::vector<PageId>& pages, int32_t token, int32_t head, int32_t dim) const {
    return kv_->value(pages[static_cast<size_t>(token / 16)], 1, head, token % 16, dim);
  }
  const CasePages& pages() const { return pages_; }

 private:
  Tensor qkv_view(CaseStep& step) const {
    return {step.qkv.data(), DType::kF32, step.rows(), case_.qkv_cols(), case_.qkv_cols()};
  }
  void store(CaseStep step) { attention_.rope_store(qkv_view(step), step.step(), {}, 1, *kv_); }

  const AttentionCase& case_;
  ThreadPool pool_;
  CpuAttention attention_;
  AttentionTasks plan_;
  CasePages pages_;
  std::unique_ptr<CpuKvStorage> kv_;
};

}  // namespace block_attention::test
