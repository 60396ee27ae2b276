// A backend that takes the time of another one's ops: where a step's time goes. It waits for each
// op before it lets the next begin, so on a device that computes later than the call a step takes
// longer than it would otherwise; the results are the same.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/backend.hpp"
#include "model/weights.hpp"

namespace block_attention {

enum class ProfiledOp {
  kCopyPages,
  kPlanAttention,
  kEmbedding,
  kRmsNorm,
  kAddRmsNorm,
  kQkv,
  kRopeStore,
  kAttention,
  kGatherRows,
  kO,
  kGateUp,  // with its swiglu
  kDown,
  kLmHead,
  kSample,
  kOther,  // of a step, beyond its ops
};

struct OpTime {
  const char* op;
  uint64_t calls = 0;  // of kOther: steps
  double milliseconds = 0;
};

// Sums over all steps that did not fail; they never go down. One thread adds, any may read.
class OpTimes {
 public:
  void add(ProfiledOp op, std::chrono::nanoseconds time);
  // In the order of ProfiledOp, those without a call too.
  std::vector<OpTime> read() const;

 private:
  static constexpr size_t kOps = static_cast<size_t>(ProfiledOp::kOther) + 1;
  struct Sum {
    std::atomic<uint64_t> calls{0};
    std::atomic<int64_t> nanoseconds{0};
  };
  std::array<Sum, kOps> sums_;
};

// `weights` are those that `backend` made: they tell the linear layers apart. `weights` and `times`
// outlive the result.
std::unique_ptr<Backend> make_profiled_backend(std::unique_ptr<Backend> backend,
                                               const ModelWeights& weights, OpTimes& times);

}  // namespace block_attention
