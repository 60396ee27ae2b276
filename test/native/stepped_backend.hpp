// A backend that lets a test act, or fail, at a chosen moment of every step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "model/forwarding_backend.hpp"

namespace block_attention::test {

class SteppedBackend final : public ForwardingBackend {
 public:
  // Called on the engine thread with the number of the step, from 0; may throw what an op may.
  using Act = std::function<void(int64_t step)>;

  // `at_end`: when everything of the step is computed, and nobody knows of it yet.
  SteppedBackend(std::unique_ptr<Backend> backend, Act at_begin, Act at_end)
      : ForwardingBackend(std::move(backend)),
        at_begin_(std::move(at_begin)),
        at_end_(std::move(at_end)) {}

  void begin_step() override {
    next().begin_step();
    ++step_;
    at_begin_(step_);
  }
  void finish_step() override {
    next().finish_step();
    at_end_(step_);
  }

 private:
  Act at_begin_;
  Act at_end_;
  int64_t step_ = -1;
};

}  // namespace block_attention::test
