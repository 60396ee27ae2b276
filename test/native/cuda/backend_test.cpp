// The whole engine on the GPU backend, with a small random model.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "cuda/cuda_backend.hpp"
#include "engine_fixture.hpp"
#include "engine_requests.hpp"
#include "test_device.hpp"

namespace block_attention::cuda::test {
namespace {

using namespace block_attention::test;

std::unique_ptr<Backend> deterministic_backend() {
  return make_cuda_backend({.deterministic = true});
}

TestEngine::Options on_gpu(int32_t max_batch_tokens = 512, DType weights = DType::kBF16) {
  TestEngine::Options options;
  options.max_batch_tokens = max_batch_tokens;
  options.weight_dtype = weights;
  options.make_backend = deterministic_backend;
  return options;
}

class CudaBackendTest : public DeviceTest {};

// Documents that end inside a page and beyond a cut, and a query.
Request long_request(std::mt19937& random, int32_t vocab) {
  Request request;
  for (const int length : {21, 530, 16}) {
    request.documents.push_back(random_tokens(random, length, vocab));
  }
  request.query = random_tokens(random, 7, vocab);
  request.sampling.top_logprobs = vocab;
  return request;
}

TEST_F(CudaBackendTest, GivesTheDistributionsOfTheCpu) {
  const unsigned seed = 20260201;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (const DType weights : {DType::kBF16, DType::kF16}) {
    for (const bool full : {false, true}) {
      const ModelConfig config = small_config(full ? 40 : 0);
      const Request request = long_request(random, config.vocab_size);
      TestEngine::Options on_cpu;
      on_cpu.max_batch_tokens = 512;
      on_cpu.weight_dtype = weights;
      on_cpu.kv_dtype = DType::kF32;
      const Outcome cpu = run_alone(config, request, full, on_cpu);
      const Outcome gpu = run_alone(config, request, full, on_gpu(512, weights));
      ASSERT_EQ(gpu.finish, Finish::kLength) << gpu.error;
      // The first token's distribution: later ones follow a token that may be another.
      const auto vocab = static_cast<size_t>(config.vocab_size);
      std::vector<float> expected(vocab);
      for (size_t i = 0; i < vocab; ++i) {
        expected[static_cast<size_t>(cpu.top_tokens[i])] = cpu.top_logprobs[i];
      }
      const double tolerance = weights == DType::kF16 ? 0.02 : 0.1;
      for (size_t i = 0; i < vocab; ++i) {
        const int32_t token = gpu.top_tokens[i];
        ASSERT_NEAR(gpu.top_logprobs[i], expected[static_cast<size_t>(token)], tolerance)
            << dtype_name(weights) << (full ? " full" : " block") << " token " << token;
      }
    }
  }
}

TEST_F(CudaBackendTest, TheBitsDoNotDependOnChunksOrBatch) {
  const unsigned seed = 20260202;
  std::mt19937 random(seed);
  const ModelConfig config = small_config(40);
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) requests.push_back(random_request(random, config.vocab_size));
  std::vector<Outcome> expected;
  for (const Request& request : requests) {
    expected.push_back(run_alone(config, request, false, on_gpu()));
    ASSERT_EQ(expected.back().finish, Finish::kLength) << expected.back().error;
  }
  for (const int32_t batch : {7, 256}) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " batch " + std::to_string(batch));
    TestEngine engine(config, on_gpu(batch));
    for (size_t i = 0; i < requests.size(); ++i) {
      engine.engine().submit(sequences(requests[i], static_cast<int64_t>(100 * i), false));
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      const auto id = static_cast<int64_t>(100 * i + requests[i].documents.size());
      expect_same_bits(expected[i], engine.wait(id), "request " + std::to_string(i));
    }
  }
}

TEST_F(CudaBackendTest, TheBitsDoNotDependOnHitOrMiss) {
  std::mt19937 random(20260203);
  const ModelConfig config = small_config();
  const Request request = long_request(random, config.vocab_size);
  const auto query_id = static_cast<int64_t>(request.documents.size());
  TestEngine engine(config, on_gpu(48));
  std::vector<SequenceSpec> specs = sequences(request, 0, false);
  SequenceSpec again = specs.back();
  again.id = 1000;
  engine.engine().submit(std::move(specs));
  const Outcome miss = engine.wait(query_id);
  ASSERT_EQ(miss.finish, Finish::kLength) << miss.error;
  engine.engine().submit({again});
  expect_same_bits(miss, engine.wait(1000), "hit");
}

TEST_F(CudaBackendTest, TheBitsOfAForkAreThoseOfASequenceThatComputesEverything) {
  std::mt19937 random(20260204);
  const ModelConfig config = small_config(40);
  for (const DType weights : {DType::kBF16, DType::kF16}) {
    Request request;
    request.documents = {random_tokens(random, 21, config.vocab_size)};
    request.query = random_tokens(random, 37, config.vocab_size);
    request.sampling.top_logprobs = config.vocab_size;
    request.sampling.temperature = 1.3f;
    const auto query_id = static_cast<int64_t>(request.documents.size());
    TestEngine engine(config, on_gpu(48, weights));
    std::vector<SequenceSpec> specs = sequences(request, 0, false);
    const SequenceSpec source = specs.back();
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      specs.push_back(fork_of(source, query_id + static_cast<int64_t>(seed), seed));
    }
    engine.engine().submit(std::move(specs));
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      request.sampling.seed = seed;
      const Outcome expected = run_alone(config, request, false, on_gpu(512, weights));
      const Outcome fork = engine.wait(query_id + static_cast<int64_t>(seed));
      ASSERT_EQ(expected.finish, Finish::kLength) << expected.error;
      expect_same_bits(expected, fork, "fork " + std::to_string(seed));
      EXPECT_EQ(fork.copied_rows, 36);
    }
  }
}

TEST_F(CudaBackendTest, SaysWhatItIs) {
  const std::unique_ptr<Backend> backend = deterministic_backend();
  EXPECT_NE(backend->description().find(device().properties().name), std::string::npos);
  EXPECT_NE(backend->description().find("own GEMM"), std::string::npos);
  EXPECT_EQ(backend->kv_dtype({}), DType::kBF16);
  try {
    backend->kv_dtype(DType::kF32);
    FAIL() << "f32 was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  }
}

TEST_F(CudaBackendTest, AnAbsentDeviceIsNamed) {
  try {
    make_cuda_backend({.ordinal = 99});
    FAIL() << "GPU 99 was found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDeviceUnavailable);
    EXPECT_NE(std::string(error.what()).find("99"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace block_attention::cuda::test
