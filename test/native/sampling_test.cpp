#include "cpu/sampling.hpp"

#include <tuple>

#include "allocations.hpp"
#include "sampling_cases.hpp"
#include "support.hpp"

namespace block_attention::test {
namespace {

class CpuSampler final : public SamplingSubject {
 public:
  explicit CpuSampler(Isa isa) : sampler_(isa, pool_) {}

  std::vector<SampledToken> draw(const std::vector<float>& raw,
                                 std::span<const SamplingRow> rows) override {
    std::vector<float> logits = raw;
    const auto count = static_cast<int64_t>(rows.size());
    const int64_t vocab = static_cast<int64_t>(raw.size()) / count;
    std::vector<SampledToken> out(rows.size());
    for (SampledToken& token : out) token.token = -7;
    sampler_.sample({logits.data(), DType::kF32, count, vocab, vocab}, rows, out);
    EXPECT_TRUE(same_bits(logits, raw)) << "the logits were not restored";
    return out;
  }

 private:
  ThreadPool pool_{1};
  Sampler sampler_;
};

class SamplingTest : public ::testing::TestWithParam<std::tuple<Isa, SamplingCase>> {};
INSTANTIATE_TEST_SUITE_P(Isas, SamplingTest,
                         ::testing::Combine(::testing::ValuesIn(supported_isas()),
                                            ::testing::ValuesIn(kSamplingCases)),
                         [](const ::testing::TestParamInfo<std::tuple<Isa, SamplingCase>>& info) {
                           return std::string(std::get<1>(info.param).name) + "_" +
                                  isa_name(std::get<0>(info.param));
                         });

TEST_P(SamplingTest, Case) {
  CpuSampler sampler(std::get<0>(GetParam()));
  std::get<1>(GetParam()).check(sampler);
}

class CpuSamplingTest : public ::testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, CpuSamplingTest, ::testing::ValuesIn(supported_isas()), IsaName());

TEST_P(CpuSamplingTest, RowsDoNotKnowTheirBatchOrThreads) {
  CpuSampler subject(GetParam());
  const uint64_t seed = 27;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  constexpr size_t kRows = 24;
  constexpr size_t kVocab = 3001;
  constexpr size_t kStride = 3010;
  std::vector<float> logits(kRows * kStride, 0);
  std::vector<SamplingParams> params(kRows);
  std::vector<SamplingRow> rows(kRows);
  const std::vector<TokenCount> counts = {{5, 1}, {77, 3}, {3000, 0}};
  for (size_t i = 0; i < kRows; ++i) {
    const std::vector<float> raw = random_logits(random, kVocab);
    std::copy(raw.begin(), raw.end(), logits.begin() + static_cast<ptrdiff_t>(i * kStride));
    params[i].temperature = i % 3 == 0 ? 0 : 0.9f;
    params[i].top_k = i % 4 == 1 ? 40 : 0;
    params[i].top_p = i % 2 == 0 ? 0.9f : 1;
    params[i].repetition_penalty = i % 5 == 0 ? 1.2f : 1;
    params[i].seed = i;
    params[i].top_logprobs = static_cast<int32_t>(i % 6) - 1;
    rows[i] = {&params[i], counts, i * 7};
  }
  std::vector<SampledToken> alone(kRows);
  for (size_t i = 0; i < kRows; ++i) {
    const auto begin = logits.begin() + static_cast<ptrdiff_t>(i * kStride);
    alone[i] = subject.sample_one({begin, begin + kVocab}, rows[i]);
  }
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    Sampler sampler(GetParam(), pool);
    std::vector<SampledToken> batch(kRows);
    for (int round = 0; round < 5; ++round) {
      sampler.sample({logits.data(), DType::kF32, kRows, kVocab, kStride}, rows, batch);
      for (size_t i = 0; i < kRows; ++i) {
        ASSERT_EQ(batch[i].token, alone[i].token) << i;
        ASSERT_EQ(std::memcmp(&batch[i].logprob, &alone[i].logprob, sizeof(float)), 0) << i;
        ASSERT_EQ(batch[i].top_logprobs.size(), alone[i].top_logprobs.size());
        for (size_t j = 0; j < alone[i].top_logprobs.size(); ++j) {
          ASSERT_EQ(batch[i].top_logprobs[j].token, alone[i].top_logprobs[j].token);
          ASSERT_EQ(batch[i].top_logprobs[j].logprob, alone[i].top_logprobs[j].logprob);
        }
      }
    }
  }
}

TEST_P(CpuSamplingTest, AllocatesNothingAfterWarmUp) {
  SKIP_UNLESS_ALLOCATIONS_ARE_SEEN();
  ThreadPool pool(1);
  Sampler sampler(GetParam(), pool);
  Random random(28);
  std::vector<float> logits = random.normals(5000, 2);
  SamplingParams params;
  params.temperature = 1;
  params.top_k = 700;
  params.top_p = 0.95f;
  params.min_p = 0.001f;
  params.repetition_penalty = 1.1f;
  params.top_logprobs = 20;
  const std::vector<TokenCount> counts = {{1, 1}, {2, 2}};
  SamplingRow row = {&params, counts, 0};
  SampledToken out;
  const Tensor tensor = {logits.data(), DType::kF32, 1, 5000, 5000};
  sampler.sample(tensor, {&row, 1}, {&out, 1});
  const uint64_t before = allocation_count();
  for (; row.position < 50; ++row.position) sampler.sample(tensor, {&row, 1}, {&out, 1});
  EXPECT_EQ(allocation_count(), before);
}

}  // namespace
}  // namespace block_attention::test
