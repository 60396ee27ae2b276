// A small random model behind an Engine, driven synchronously: submit sequences, wait for their
// last events.
#pragma once

#include <chrono>
#include <cmath>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.hpp"
#include "engine/engine.hpp"
#include "model/random_weights.hpp"

namespace block_attention::test {

inline ModelConfig small_config(int32_t window = 0) {
  ModelConfig config;
  config.vocab_size = 97;
  config.hidden_size = 48;
  config.intermediate_size = 80;
  config.num_layers = 3;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.rms_norm_eps = 1e-5f;
  config.tie_word_embeddings = true;
  config.windows = {0, window, window};
  for (int i = 0; i < 8; ++i) config.inv_freq.push_back(std::pow(10000.0, -i / 8.0));
  return config;
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<int32_t> top_tokens;
  std::vector<float> top_logprobs;
  Finish finish = Finish::kNone;
  ErrorCode code = ErrorCode::kInternal;  // with kError
  std::string error;
  double flops = 0;
  int32_t copied_rows = 0;

  bool operator==(const Outcome&) const = default;
};

class TestEngine {
 public:
  struct Options {
    int threads = 1;
    int32_t max_batch_tokens = 64;
    int32_t pages = 256;
    std::optional<DType> kv_dtype = {};
    Isa isa = default_isa();
    DType weight_dtype = DType::kBF16;
    WeightFormat weight_format = WeightFormat::kStored;
    // Instead of random ones of weight_dtype.
    std::function<std::unique_ptr<WeightSource>()> make_weights = {};
    // Instead of the CPU's.
    std::function<std::unique_ptr<Backend>()> make_backend = {};
    bool profile = false;
  };

  TestEngine(const ModelConfig& config, Options options) {
    std::unique_ptr<Backend> backend = options.make_backend
                                           ? options.make_backend()
                                           : make_cpu_backend(options.threads, options.isa);
    const std::unique_ptr<WeightSource> source =
        options.make_weights ? options.make_weights()
                             : std::make_unique<RandomWeights>(config, 7, options.weight_dtype);
    ModelWeights weights =
        load_weights(config, *source, *backend, options.weight_format, [](size_t, size_t) {});
    const KvShape shape = {config.num_layers, config.num_kv_heads, config.head_dim,
                           backend->kv_dtype(options.kv_dtype)};
    const size_t cache_bytes = backend->kv_page_bytes(shape) * static_cast<size_t>(options.pages);
    engine_ = std::make_unique<Engine>(config, std::move(backend), std::move(weights),
                                       EngineOptions{.kv_dtype = options.kv_dtype,
                                                     .cache_bytes = cache_bytes,
                                                     .max_batch_tokens = options.max_batch_tokens,
                                                     .profile = options.profile},
                                       [this](EventList events) {
                                         const std::lock_guard lock(mutex_);
                                         reported_.splice(reported_.end(), events);
                                         changed_.notify_all();
                                       });
  }
  ~TestEngine() { engine_->close(); }

  Engine& engine() { return *engine_; }

  // Whether all pages come back, once every sequence is released: the engine thread drops its last
  // references after the report.
  bool all_pages_come_back() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    const auto all_free = [this] { return engine_->stats().free_pages == engine_->info().pages; };
    while (!all_free() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return all_free();
  }

  Outcome wait(int64_t id) {
    std::unique_lock lock(mutex_);
    const bool ended = changed_.wait_for(lock, std::chrono::minutes(1), [&] {
      take_reported();
      return outcomes_[id].finish != Finish::kNone;
    });
    if (!ended) throw std::runtime_error("sequence " + std::to_string(id) + " never ended");
    return outcomes_[id];
  }

 private:
  // Here and not in the sink, which must not allocate.
  void take_reported() {
    for (const SequenceEvent& event : std::exchange(reported_, {})) {
      Outcome& outcome = outcomes_[event.id];
      const auto append = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      append(outcome.tokens, event.tokens);
      append(outcome.logprobs, event.logprobs);
      append(outcome.top_tokens, event.top_tokens);
      append(outcome.top_logprobs, event.top_logprobs);
      outcome.finish = event.finish;
      outcome.code = event.error_code;
      outcome.error = event.error_message;
      if (!event.first) continue;
      outcome.flops = event.flops;
      outcome.copied_rows = event.copied_rows;
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  EventList reported_;
  std::map<int64_t, Outcome> outcomes_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace block_attention::test
