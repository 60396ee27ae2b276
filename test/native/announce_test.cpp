// What a forward pass announces is what it multiplies by, one linear op later.
#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "engine_fixture.hpp"
#include "model/forwarding_backend.hpp"

namespace block_attention::test {
namespace {

class WatchedBackend final : public ForwardingBackend {
 public:
  WatchedBackend(std::unique_ptr<Backend> backend, int& kept)
      : ForwardingBackend(std::move(backend)), kept_(kept) {}

  void announce(const LinearWeight& weight) override {
    EXPECT_EQ(announced_, nullptr) << "twice before one linear op";
    announced_ = &weight;
    next().announce(weight);
  }
  void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) override {
    if (expected_ != nullptr) {
      EXPECT_EQ(&weight, expected_);
      ++kept_;
    }
    expected_ = std::exchange(announced_, nullptr);
    next().linear(x, weight, out);
  }
  void begin_step() override {
    announced_ = nullptr;
    expected_ = nullptr;
    next().begin_step();
  }

 private:
  int& kept_;
  const LinearWeight* announced_ = nullptr;
  const LinearWeight* expected_ = nullptr;
};

TEST(AnnounceTest, AForwardPassMultipliesByWhatItAnnounced) {
  const ModelConfig config = small_config();
  for (const WeightFormat format : {WeightFormat::kStored, WeightFormat::kInt8}) {
    int kept = 0;
    TestEngine engine(
        config,
        {.threads = 2, .weight_format = format, .make_backend = [&]() -> std::unique_ptr<Backend> {
           return std::make_unique<WatchedBackend>(make_cpu_backend(2, default_isa()), kept);
         }});
    SequenceSpec query;
    query.id = 1;
    query.tokens = {4, 5, 6};
    query.generation.emplace();
    query.generation->max_tokens = 5;
    engine.engine().submit({query});
    EXPECT_EQ(engine.wait(1).finish, Finish::kLength);
    // All linear ops of a step but the first: four of each layer, and the LM head.
    EXPECT_EQ(kept, 5 * 4 * config.num_layers);
  }
}

}  // namespace
}  // namespace block_attention::test
