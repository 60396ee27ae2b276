// Any order of submit, abort and release, with any blocks, offsets, tokens, forks and sampling, on
// a small model. What is wrong must be an Error; everything submitted must end, and give its pages
// back.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/cpu_backend.hpp"
#include "engine/engine.hpp"
#include "events.hpp"
#include "model/random_weights.hpp"

namespace block_attention::fuzz {
namespace {

constexpr int kSlots = 12;
constexpr int32_t kPositions = 4096;

ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 37;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 8;
  config.rms_norm_eps = 1e-5f;
  config.tie_word_embeddings = true;
  config.windows = {0, 20};
  for (int i = 0; i < 4; ++i) config.inv_freq.push_back(std::pow(10000.0, -i / 4.0));
  return config;
}

class Requests {
 public:
  explicit Requests(FuzzedDataProvider& data) : data_(data), events_(config_.vocab_size) {
    std::unique_ptr<Backend> backend = make_cpu_backend(data_.ConsumeIntegralInRange(1, 2));
    RandomWeights source(config_, 7, DType::kBF16);
    ModelWeights weights =
        load_weights(config_, source, *backend, WeightFormat::kStored, [](size_t, size_t) {});
    const KvShape shape = {config_.num_layers, config_.num_kv_heads, config_.head_dim,
                           data_.ConsumeBool() ? DType::kBF16 : DType::kF32};
    const size_t page_bytes = backend->kv_page_bytes(shape);
    EngineOptions options;
    options.kv_dtype = shape.dtype;
    options.cache_bytes = page_bytes * data_.ConsumeIntegralInRange<size_t>(1, 24);
    options.max_batch_tokens = data_.ConsumeIntegralInRange(1, 40);
    options.max_positions = kPositions;
    engine_ = std::make_unique<Engine>(config_, std::move(backend), std::move(weights), options,
                                       [this](const auto& reported) { events_.take(reported); });
  }

  void run() {
    for (int i = 0; i < 24 && data_.remaining_bytes() > 0; ++i) act();
    wait_for_all();
    for (int64_t id = 0; id < next_id_; ++id) engine_->release(id);
    const int32_t pages = engine_->info().pages;
    events_.wait("pages that nobody holds are not free",
                 [&] { return engine_->stats().free_pages == pages; });
  }

 private:
  void act() {
    switch (data_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        engine_->abort(slot().id);
        break;
      case 1:
        release(slot());
        break;
      case 2:
        wait_for_all();
        break;
      default:
        submit();
    }
  }

  // A place for one sequence after another, each with an id of its own: what is under way when an
  // id is released may still be reported.
  struct Slot {
    int64_t id = 0;
    bool live = false;  // submitted, not released
  };
  Slot& slot() { return slots_[data_.ConsumeIntegralInRange<size_t>(0, kSlots - 1)]; }

  void wait_for_all() {
    events_.wait("a sequence that does not end", [&] { return engine_->stats().running == 0; });
  }

  void release(Slot& slot) {
    engine_->release(slot.id);
    slot.live = false;
  }

  void submit() {
    std::vector<SequenceSpec> specs;
    std::vector<Slot*> slots;
    const int count = data_.ConsumeIntegralInRange(1, 3);
    for (int i = 0; i < count; ++i) {
      slots.push_back(&slot());
      // An id that is in use is refused.
      if (!slots.back()->live) slots.back()->id = next_id_++;
      const int64_t id = slots.back()->id;
      specs.push_back(data_.ConsumeIntegralInRange(0, 3) == 0 ? fork(id) : sequence(id));
    }
    try {
      engine_->submit(std::move(specs));
      for (Slot* slot : slots) slot->live = true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kInternal) finding(error.what());
    }
  }

  int32_t any_int() {
    return data_.PickValueInArray({0, 1, -1, 15, 16, 17, kPositions - 1, kPositions, INT32_MAX,
                                   INT32_MIN, data_.ConsumeIntegral<int32_t>()});
  }
  int32_t token() {
    return data_.ConsumeProbability<float>() < 0.02f
               ? any_int()
               : data_.ConsumeIntegralInRange(0, config_.vocab_size - 1);
  }
  std::vector<int32_t> tokens(int most) {
    std::vector<int32_t> result(static_cast<size_t>(data_.ConsumeIntegralInRange(0, most)));
    for (int32_t& entry : result) entry = token();
    return result;
  }
  float number(float low, float high) {
    if (!data_.ConsumeBool()) return data_.PickValueInArray({low, high});
    return data_.ConsumeFloatingPointInRange(low, high);
  }

  SequenceSpec sequence(int64_t id) {
    SequenceSpec spec;
    spec.id = id;
    const int segments = data_.ConsumeIntegralInRange(0, 3);
    int64_t end = 0;
    for (int i = 0; i < segments; ++i) {
      spec.segments.push_back({slot().id, offset(end)});
      end = int64_t{spec.segments.back().offset} + 40;
    }
    spec.offset = offset(end);
    spec.tokens = tokens(40);
    if (data_.ConsumeBool()) spec.generation = generation();
    if (data_.ConsumeIntegralInRange(0, 15) == 0) spec.fork_of = slot().id;
    last_ = spec;
    return spec;
  }
  // With the prompt of the sequence made last.
  SequenceSpec fork(int64_t id) {
    SequenceSpec spec = last_;
    spec.fork_of = std::exchange(spec.id, id);
    if (data_.ConsumeBool()) spec.generation = generation();
    return spec;
  }
  // Mostly at or behind `end`.
  int32_t offset(int64_t end) {
    const int kind = data_.ConsumeIntegralInRange(0, 15);
    if (kind == 0) return any_int();
    const int64_t gap = kind < 8 ? 0 : data_.ConsumeIntegralInRange(0, 99);
    return static_cast<int32_t>(std::min<int64_t>(end + gap, INT32_MAX));
  }

  GenerationSpec generation() {
    GenerationSpec spec;
    spec.max_tokens = data_.ConsumeIntegralInRange(0, 12);
    spec.stop_tokens = tokens(2);
    SamplingParams& sampling = spec.sampling;
    sampling.temperature = number(0, 1e6f);
    sampling.top_k = data_.ConsumeIntegralInRange(0, 50);
    sampling.top_p = number(0, 1);
    sampling.min_p = number(0, 1);
    sampling.repetition_penalty = number(1e-6f, 1e6f);
    sampling.presence_penalty = number(-1e6f, 1e6f);
    sampling.frequency_penalty = number(-1e6f, 1e6f);
    sampling.seed = data_.ConsumeIntegral<uint64_t>() >> 11;
    sampling.top_logprobs = data_.ConsumeIntegralInRange(-1, 50);
    for (int32_t biased : tokens(3)) sampling.logit_bias.emplace_back(biased, number(-1e6f, 1e6f));
    spec.history = tokens(8);
    return spec;
  }

  FuzzedDataProvider& data_;
  const ModelConfig config_ = small_config();
  Events events_;
  std::array<Slot, kSlots> slots_;
  SequenceSpec last_;
  int64_t next_id_ = 1;
  std::unique_ptr<Engine> engine_;
};

}  // namespace
}  // namespace block_attention::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  block_attention::fuzz::Requests(data).run();
  return 0;
}
