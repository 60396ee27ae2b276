// load_weights() says how far it is within one matrix, too, and is ended there.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <string>

#include "core/error.hpp"
#include "cpu/cpu_backend.hpp"
#include "engine_fixture.hpp"
#include "model/weights.hpp"

namespace block_attention::test {
namespace {

// Random weights whose embedding is by far the largest matrix; counts the rows that are read of it.
class LargeEmbedding : public WeightSource {
 public:
  static constexpr int32_t kRows = 1 << 16;

  LargeEmbedding() : weights_(config(), 1, DType::kBF16) {}

  static ModelConfig config() {
    ModelConfig config = small_config();
    config.vocab_size = kRows;
    return config;
  }

  bool has(const std::string& name) const override { return weights_.has(name); }
  HostMatrix matrix(const std::string& name, int64_t rows, int64_t cols) override {
    HostMatrix matrix = weights_.matrix(name, rows, cols);
    if (rows != kRows) return matrix;
    const auto read = [this, read = matrix.read](int64_t first, int64_t count, void* out) {
      rows_read += count;
      read(first, count, out);
    };
    return {read, matrix.dtype, rows, cols};
  }
  std::vector<float> vector(const std::string& name, int64_t size) override {
    return weights_.vector(name, size);
  }
  size_t total_bytes() const override { return weights_.total_bytes(); }

  std::atomic<int64_t> rows_read{0};

 private:
  RandomWeights weights_;
};

TEST(LoadWeightsTest, SaysHowFarItIsAndEndsAtTheTotal) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(2, default_isa());
  LargeEmbedding source;
  std::mutex mutex;
  std::set<size_t> reports;
  load_weights(LargeEmbedding::config(), source, *backend, WeightFormat::kStored,
               [&](size_t done, size_t total) {
                 const std::lock_guard lock(mutex);
                 EXPECT_EQ(total, source.total_bytes());
                 EXPECT_TRUE(reports.insert(done).second) << done;
               });
  EXPECT_EQ(source.rows_read, LargeEmbedding::kRows);
  EXPECT_GT(reports.size(), 500u);
  EXPECT_EQ(*reports.rbegin(), source.total_bytes());
}

TEST(LoadWeightsTest, IsAbortedInTheMiddleOfAMatrix) {
  for (const int threads : {1, 3}) {
    const std::unique_ptr<Backend> backend = make_cpu_backend(threads, default_isa());
    LargeEmbedding source;
    try {
      load_weights(LargeEmbedding::config(), source, *backend, WeightFormat::kStored,
                   [&](size_t done, size_t total) {
                     if (done > total / 10) throw Error(ErrorCode::kAborted, "planted");
                   });
      FAIL() << "it was not ended";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kAborted);
    }
    EXPECT_GT(source.rows_read, 0);
    EXPECT_LT(source.rows_read, LargeEmbedding::kRows / 5) << threads << " threads";
  }
}

}  // namespace
}  // namespace block_attention::test
