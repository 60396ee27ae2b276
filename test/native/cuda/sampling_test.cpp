// The GPU's sampler against what every sampler must do (sampling_cases.hpp), and what is its own:
// calls that share a step, rows at any stride, rows that do not know their batch.
#include "cuda/sampling.hpp"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "device_array.hpp"
#include "sampling_cases.hpp"
#include "support.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using block_attention::test::kNan;
using block_attention::test::kSamplingCases;
using block_attention::test::Random;
using block_attention::test::random_logits;
using block_attention::test::same_bits;
using block_attention::test::SamplingCase;
using block_attention::test::SamplingSubject;

class CudaSamplingSubject final : public SamplingSubject {
 public:
  explicit CudaSamplingSubject(Device& device) : device_(device) {}

  std::vector<SampledToken> draw(const std::vector<float>& raw,
                                 std::span<const SamplingRow> rows) override {
    const auto count = static_cast<int64_t>(rows.size());
    const int64_t vocab = static_cast<int64_t>(raw.size()) / count;
    // Rows are aligned to nothing but their floats.
    const DeviceTensor logits(device_, DType::kF32, count, vocab, vocab + 3, raw);
    std::vector<SampledToken> out(rows.size());
    for (SampledToken& token : out) token.token = -7;
    sampler_.sample(logits.view(), rows, out);
    device_.synchronize();
    sampler_.finish();
    uploads_.reset();
    EXPECT_TRUE(same_bits(logits.read(), raw)) << "the logits were not restored";
    return out;
  }
  // An emulated draw takes milliseconds.
  int rounds(int wanted) const override {
    const bool emulated = device_.properties().name == "emulated GPU";
    return emulated ? std::max(20, wanted / 80) : wanted;
  }

 private:
  Device& device_;
  StepArena uploads_{device_};
  CudaSampler sampler_{device_, uploads_};
};

class CudaSamplingCaseTest : public DeviceTest,
                             public ::testing::WithParamInterface<SamplingCase> {};
INSTANTIATE_TEST_SUITE_P(All, CudaSamplingCaseTest, ::testing::ValuesIn(kSamplingCases),
                         [](const ::testing::TestParamInfo<SamplingCase>& info) {
                           return std::string(info.param.name);
                         });

TEST_P(CudaSamplingCaseTest, Case) {
  CudaSamplingSubject sampler(device());
  GetParam().check(sampler);
}

class CudaSamplingTest : public DeviceTest {};

struct Batch {
  std::vector<float> logits;
  std::vector<SamplingParams> params;
  std::vector<TokenCount> counts;
  std::vector<SamplingRow> rows;
};

// Rows that ask for all kinds of things.
Batch make_batch(Random& random, size_t rows, size_t vocab) {
  Batch batch;
  batch.params.resize(rows);
  batch.counts = {{5, 1}, {77, 3}, {static_cast<int32_t>(vocab) - 1, 0}};
  for (size_t i = 0; i < rows; ++i) {
    const std::vector<float> raw = random_logits(random, vocab);
    batch.logits.insert(batch.logits.end(), raw.begin(), raw.end());
    SamplingParams& params = batch.params[i];
    params.temperature = i % 3 == 0 ? 0 : 0.9f;
    params.top_k = i % 4 == 1 ? 40 : 0;
    params.top_p = i % 2 == 0 ? 0.9f : 1;
    params.min_p = i % 5 == 4 ? 0.05f : 0;
    params.repetition_penalty = i % 5 == 0 ? 1.2f : 1;
    params.seed = i;
    params.top_logprobs = static_cast<int32_t>(i % 6) - 1;
    if (i % 7 == 3) params.logit_bias = {{9, 4.0f}, {9, -1.0f}, {0, 2.0f}};
    batch.rows.push_back({&params, batch.counts, i * 7});
  }
  return batch;
}

void expect_same(const SampledToken& a, const SampledToken& b, size_t row) {
  EXPECT_EQ(a.token, b.token) << row;
  EXPECT_EQ(a.valid, b.valid) << row;
  EXPECT_EQ(std::memcmp(&a.logprob, &b.logprob, sizeof(float)), 0) << row;
  ASSERT_EQ(a.top_logprobs.size(), b.top_logprobs.size()) << row;
  for (size_t j = 0; j < a.top_logprobs.size(); ++j) {
    EXPECT_EQ(a.top_logprobs[j].token, b.top_logprobs[j].token) << row;
    EXPECT_EQ(a.top_logprobs[j].logprob, b.top_logprobs[j].logprob) << row;
  }
}

TEST_F(CudaSamplingTest, RowsDoNotKnowTheirBatch) {
  const uint64_t seed = 221;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  constexpr size_t kRows = 16;
  constexpr size_t kVocab = 1501;
  const Batch batch = make_batch(random, kRows, kVocab);
  CudaSamplingSubject sampler(device());
  const std::vector<SampledToken> together = sampler.draw(batch.logits, batch.rows);
  for (size_t i = 0; i < kRows; ++i) {
    const auto first = batch.logits.begin() + static_cast<ptrdiff_t>(i * kVocab);
    expect_same(sampler.sample_one({first, first + kVocab}, batch.rows[i]), together[i], i);
  }
}

TEST_F(CudaSamplingTest, CallsOfOneStepShareItsArena) {
  Random random(222);
  constexpr size_t kVocab = 300;
  Batch batches[] = {make_batch(random, 3, kVocab), make_batch(random, 1, kVocab),
                     make_batch(random, 7, kVocab)};
  StepArena uploads(device());
  CudaSampler sampler(device(), uploads);
  std::vector<std::unique_ptr<DeviceTensor>> logits;
  std::vector<std::vector<SampledToken>> out(3);
  for (size_t i = 0; i < 3; ++i) {
    const auto rows = static_cast<int64_t>(batches[i].rows.size());
    logits.push_back(std::make_unique<DeviceTensor>(device(), DType::kF32, rows, kVocab, kVocab,
                                                    batches[i].logits));
    out[i].resize(batches[i].rows.size());
  }
  for (size_t i = 0; i < 3; ++i) sampler.sample(logits[i]->view(), batches[i].rows, out[i]);
  device().synchronize();
  sampler.finish();
  CudaSamplingSubject alone(device());
  for (size_t i = 0; i < 3; ++i) {
    const std::vector<SampledToken> expected = alone.draw(batches[i].logits, batches[i].rows);
    for (size_t row = 0; row < expected.size(); ++row) expect_same(out[i][row], expected[row], row);
  }
}

TEST_F(CudaSamplingTest, ForgetsCancelledCalls) {
  Random random(223);
  const Batch batch = make_batch(random, 2, 100);
  const DeviceTensor logits(device(), DType::kF32, 2, 100, 100, batch.logits);
  StepArena uploads(device());
  CudaSampler sampler(device(), uploads);
  std::vector<SampledToken> out(2);
  for (SampledToken& token : out) token.token = -7;
  sampler.sample(logits.view(), batch.rows, out);
  device().synchronize();
  sampler.cancel();
  sampler.finish();
  EXPECT_EQ(out[0].token, -7);
  EXPECT_EQ(out[1].token, -7);
}

// More pieces than there are chunks only come with a million tokens; this is one chunk more than
// threads of a block read at once.
TEST_F(CudaSamplingTest, LargeVocabulary) {
  Random random(224);
  constexpr size_t kVocab = 40001;
  std::vector<float> raw = random.normals(kVocab, 2);
  raw[40000] = 30;
  CudaSamplingSubject sampler(device());
  SamplingParams params;
  EXPECT_EQ(sampler.sample(raw, params).token, 40000);
  params.temperature = 1;
  EXPECT_EQ(sampler.sample(raw, params).token, 40000);
  params.logit_bias = {{40000, -1000}};
  params.top_k = 3;
  params.top_logprobs = 5;
  std::vector<float> sorted(raw.begin(), raw.end() - 1);
  std::sort(sorted.rbegin(), sorted.rend());
  const SampledToken out = sampler.sample(raw, params);
  EXPECT_GE(raw[static_cast<size_t>(out.token)], sorted[2]);
  ASSERT_EQ(out.top_logprobs.size(), 5u);
  EXPECT_EQ(out.top_logprobs[0].token, 40000);
}

TEST_F(CudaSamplingTest, NoRowsAreNoWorkAndTooLargeAVocabularyIsRefused) {
  StepArena uploads(device());
  CudaSampler sampler(device(), uploads);
  sampler.sample({nullptr, DType::kF32, 0, 100, 100}, {}, {});
  device().synchronize();
  sampler.finish();
  const SamplingParams params;
  const SamplingRow row = {&params, {}, 0};
  SampledToken out;
  try {
    sampler.sample({nullptr, DType::kF32, 1, 4000001, 4000001}, {&row, 1}, {&out, 1});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  }
}

}  // namespace
}  // namespace block_attention::cuda::test
