// ucontext starts a fiber; _setjmp and _longjmp switch (30 ns, where swapcontext takes 570 ns for
// its two system calls). Sanitizers follow swapcontext better.
#include "emulator/fiber.hpp"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EMULATOR_SANITIZED 1
#else
#define EMULATOR_SANITIZED 0
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace block_attention::cuda::emulator {
namespace {

constexpr size_t kStackBytes = EMULATOR_SANITIZED ? 512 * 1024 : 128 * 1024;
constexpr size_t kGuardBytes = 4096;
// What a kernel finds in locals that nobody wrote: about the depth of its frames.
constexpr size_t kPoisonBytes = 1024;

// A stack with a page below it that nobody may touch.
class Stack {
 public:
  Stack() {
    memory_ = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory_, kGuardBytes, PROT_NONE);
  }
  ~Stack() { munmap(memory_, kStackBytes + kGuardBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* bottom() const { return static_cast<char*>(memory_) + kGuardBytes; }

 private:
  void* memory_;
};

// Fills the stack below the caller's frame, where the kernel's frames will lie.
[[gnu::noinline]] void poison_stack() {
  unsigned char below[kPoisonBytes];
  std::memset(below, 0xff, sizeof below);
  asm volatile("" ::"r"(below) : "memory");
}

}  // namespace

struct Fiber::State {
  Stack stack;
  ucontext_t context;
  Entry entry = nullptr;
  void* argument = nullptr;
  bool fresh = true;    // its frames do not exist yet
  bool parked = false;  // its entry returned
#if !EMULATOR_SANITIZED
  jmp_buf place;
#endif
#ifdef __SANITIZE_ADDRESS__
  void* fake_stack = nullptr;
#endif
#ifdef __SANITIZE_THREAD__
  void* tsan_fiber = __tsan_create_fiber(0);
  ~State() { __tsan_destroy_fiber(tsan_fiber); }
#endif
};

namespace {

// The scheduler, while a fiber runs.
struct Scheduler {
#if EMULATOR_SANITIZED
  ucontext_t context;
#else
  jmp_buf place;
#endif
#ifdef __SANITIZE_ADDRESS__
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_bytes = 0;
#endif
#ifdef __SANITIZE_THREAD__
  void* tsan_fiber = nullptr;
#endif
};

Scheduler scheduler;
Fiber* running = nullptr;

}  // namespace

Fiber::Fiber() : state_(std::make_unique<State>()) {}
Fiber::~Fiber() = default;

void Fiber::start(Entry entry, void* argument) {
  state_->entry = entry;
  state_->argument = argument;
  if (state_->parked) return;
  state_->fresh = true;
#ifdef __SANITIZE_ADDRESS__
  // Of the frames that are abandoned.
  __asan_unpoison_memory_region(state_->stack.bottom(), kStackBytes);
#endif
  getcontext(&state_->context);
  state_->context.uc_stack.ss_sp = state_->stack.bottom();
  state_->context.uc_stack.ss_size = kStackBytes;
  state_->context.uc_link = nullptr;
  makecontext(&state_->context, &Fiber::main, 0);
}

void Fiber::main() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack_bottom, &scheduler.stack_bytes);
#endif
  for (;;) {
    poison_stack();
    State& state = *running->state_;
    state.parked = false;
    state.entry(state.argument);
    state.parked = true;
    yield();
  }
}

#if EMULATOR_SANITIZED

void Fiber::resume() {
  running = this;
  state_->fresh = false;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, state_->stack.bottom(), kStackBytes);
#endif
#ifdef __SANITIZE_THREAD__
  scheduler.tsan_fiber = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state_->tsan_fiber, 0);
#endif
  swapcontext(&scheduler.context, &state_->context);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
  running = nullptr;
}

void Fiber::yield() {
  State& state = *running->state_;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&state.fake_stack, scheduler.stack_bottom, scheduler.stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
  __tsan_switch_to_fiber(scheduler.tsan_fiber, 0);
#endif
  swapcontext(&state.context, &scheduler.context);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(state.fake_stack, &scheduler.stack_bottom,
                                  &scheduler.stack_bytes);
#endif
}

#else

[[gnu::noinline]] void Fiber::resume() {
  running = this;
  if (_setjmp(scheduler.place) == 0) {
    if (state_->fresh) {
      state_->fresh = false;
      setcontext(&state_->context);
    }
    _longjmp(state_->place, 1);
  }
}

[[gnu::noinline]] void Fiber::yield() {
  if (_setjmp(running->state_->place) == 0) _longjmp(scheduler.place, 1);
}

#endif

}  // namespace block_attention::cuda::emulator
