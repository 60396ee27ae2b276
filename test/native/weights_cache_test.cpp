// int8 weights kept on disk: the next load gives the same bits and quantises nothing.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "core/error.hpp"
#include "core/xxh64.hpp"
#include "model/group_outliers.hpp"
#include "model/score_error.hpp"
#include "weights_cache_fixture.hpp"

namespace block_attention::test {
namespace {

namespace fs = std::filesystem;
using State = WeightsCacheReport::State;

class WeightsCacheTest : public WeightsCacheFixture {};

TEST_F(WeightsCacheTest, TheNextLoadIsTheSameAndReadsNoMatrix) {
  Loaded plain = load_plain();
  Loaded first = load_cached();
  EXPECT_EQ(first.report.state, State::kWritten) << first.report.problem;
  EXPECT_EQ(first.report.problem, "");
  EXPECT_EQ(cached_files(), std::vector{fs::path(first.report.file).filename().string()});
  expect_same(plain, first);
  for (const int threads : {1, 3}) {
    Loaded next = load_cached({.threads = threads});
    EXPECT_EQ(next.report.state, State::kRead) << next.report.problem;
    EXPECT_EQ(next.report.file, first.report.file);
    EXPECT_EQ(next.rows_read, 0);
    expect_same(plain, next);
  }
  EXPECT_EQ(cached_files().size(), 1u);
}

TEST_F(WeightsCacheTest, KeepsBiasesAndEmbeddingsApart) {
  CachedLoad options;
  options.config.tie_word_embeddings = false;
  options.model.bias = true;
  Loaded plain = load_plain(options);
  EXPECT_EQ(plain.weights.embed_tokens->format(), WeightFormat::kStored);
  load_cached(options);
  Loaded next = load_cached(options);
  EXPECT_EQ(next.report.state, State::kRead);
  EXPECT_EQ(next.rows_read, options.config.vocab_size) << "the embeddings, and nothing else";
  expect_same(plain, next);
}

TEST_F(WeightsCacheTest, KnowsFromTheFileWhatStaysAsItIsStored) {
  CachedLoad options;
  options.model.change = [](const std::string& name, std::vector<uint16_t>& values, int64_t cols) {
    const bool outliers = name == "model.layers.1.mlp.down_proj";
    for (size_t i = 0; i < values.size(); ++i) {
      if (outliers && static_cast<int64_t>(i) % cols == 5) values[i] = f32_to_bf16(40);
      // Scores so large that rounding would move them far.
      if (name == "model.layers.2.self_attn.q_proj")
        values[i] = f32_to_bf16(100 * bf16_to_f32(values[i]));
    }
  };
  Loaded plain = load_plain(options);
  EXPECT_EQ(plain.weights.layers[1].down->format(), WeightFormat::kStored);
  EXPECT_EQ(plain.weights.layers[2].qkv->format(), WeightFormat::kStored);
  load_cached(options);
  Loaded next = load_cached(options);
  EXPECT_EQ(next.report.state, State::kRead);
  EXPECT_EQ(next.rows_read, options.config.hidden_size + options.config.qkv_size());
  expect_same(plain, next);
}

TEST_F(WeightsCacheTest, SaysHowFarItIsAndEndsWhereALoadWithoutItDoes) {
  std::mutex mutex;
  size_t most = 0;
  size_t of = 0;
  const auto progress = [&](size_t done, size_t total) {
    const std::lock_guard lock(mutex);
    most = std::max(most, done);
    of = total;
  };
  load_plain({.progress = progress});
  const size_t plain = most;
  EXPECT_EQ(load_cached().report.state, State::kWritten);
  most = 0;
  EXPECT_EQ(load_cached({.progress = progress}).report.state, State::kRead);
  EXPECT_EQ(most, plain);
  EXPECT_EQ(of, model_->weights().total_bytes());
}

TEST_F(WeightsCacheTest, IsAbortedWithoutALeftover) {
  const auto abort = [](size_t done, size_t total) {
    if (done > total / 3) throw Error(ErrorCode::kAborted, "planted");
  };
  EXPECT_EQ(error_code_of([&] { load_cached({.progress = abort}); }), "ABORTED");
  EXPECT_TRUE(cached_files().empty());
  EXPECT_EQ(load_cached().report.state, State::kWritten);
  EXPECT_EQ(error_code_of([&] { load_cached({.progress = abort}); }), "ABORTED");
  EXPECT_EQ(load_cached().report.state, State::kRead);
}

TEST_F(WeightsCacheTest, HasAKeyForWhateverDecidesTheBytes) {
  std::set<std::string> paths;
  const auto stamp = [&](int64_t nanoseconds) {
    const timespec times[2] = {{0, UTIME_OMIT}, {1'700'000'000, nanoseconds}};
    ASSERT_EQ(utimensat(AT_FDCWD, files_.path("model").c_str(), times, 0), 0);
  };
  const auto path_of = [&](const CachedLoad& options, bool same_model = false) {
    if (!same_model) write_model_anew();
    load_plain(options);
    stamp(0);
    return load_cached(options).report.file;
  };
  const std::string path = path_of({});
  EXPECT_EQ(path_of({}), path);
  paths.insert(path);
  const auto is_new = [&](const std::string& other) { return paths.insert(other).second; };

  EXPECT_TRUE(is_new(path_of({.model = {.seed = 8}}))) << "other weights of the same size and time";
  EXPECT_TRUE(is_new(path_of({.model = {.bias = true}}))) << "biases";
  EXPECT_TRUE(is_new(path_of({.model = {.change =
                                            [](const std::string& name, auto& values, auto) {
                                              if (name == "model.layers.2.mlp.down_proj")
                                                values[values.size() / 2] ^= 1;
                                            }}})))
      << "a single weight, where samples are taken";
  CachedLoad untied;
  untied.config.tie_word_embeddings = false;
  EXPECT_TRUE(is_new(path_of(untied)));
  CachedLoad heads;
  heads.config.num_heads = 3;
  heads.config.num_kv_heads = 1;
  heads.config.head_dim = 32;
  EXPECT_TRUE(is_new(path_of(heads)));
  EXPECT_EQ(path_of({}), path) << "nothing but what was changed";
  stamp(1);
  EXPECT_TRUE(is_new(load_cached().report.file)) << "a nanosecond";

  // The instruction set counts only where the layout is another one.
  const auto layout = [](Isa isa) {
    return make_cpu_backend(1, isa)->packed_weights()->packed_layout();
  };
  for (const Isa isa : supported_isas())
    EXPECT_EQ(path_of({.isa = isa}) == path, layout(isa) == layout(default_isa())) << isa_name(isa);
}

// Whoever changes these bytes raises kVersion of weights_cache.cpp, so that no older file is read.
TEST_F(WeightsCacheTest, TheBytesAreThoseOfTheVersion) {
  constexpr int64_t kRows = 40;
  constexpr int64_t kCols = 150;
  std::vector<float> values;
  for (int64_t i = 0; i < kRows * kCols; ++i)
    values.push_back(static_cast<float>(i * 7919 % 4001 - 2000) / static_cast<float>(1 + i % 13));
  const std::vector<HostMatrix> parts = {{values.data(), DType::kF32, kRows, kCols}};
  const auto backend = make_cpu_backend(1, Isa::kPortable);
  const auto weight = backend->make_linear(parts, {}, {}, WeightFormat::kInt8);
  const auto bytes = backend->packed_weights()->packed_view(*weight);
  EXPECT_EQ(xxh64(bytes.data(), bytes.size()), 0x559efede864df3afull);
  EXPECT_EQ(int8_rules(), "score error 0.024000, group outliers 1.650000");
  const HeadProjection heads = {parts[0], {}, {}};
  EXPECT_NEAR(score_error(heads, heads, std::vector<float>(kCols, 1), 20), 210312, 1);
  EXPECT_NEAR(group_outliers(parts[0]), 1.28433, 1e-5);
}

}  // namespace
}  // namespace block_attention::test
