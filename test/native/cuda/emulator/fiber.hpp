// Stacks of their own for the threads of a block: a fiber runs until it yields. All fibers and
// their scheduler live on one thread of the operating system.
#pragma once

#include <memory>

namespace block_attention::cuda::emulator {

class Fiber {
 public:
  using Entry = void (*)(void*);

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Has the next resume() call entry(argument), which must not throw. What ran before is abandoned
  // where it stands.
  void start(Entry entry, void* argument);
  // Runs the fiber until it yields or its entry returns. From the scheduler only.
  void resume();
  // Back to the scheduler. From the running fiber only.
  static void yield();

 private:
  struct State;

  [[noreturn]] static void main();

  std::unique_ptr<State> state_;
};

}  // namespace block_attention::cuda::emulator
