// What one loaded engine shares between the JavaScript thread and the native threads: a queue of
// things to tell JavaScript, and the thread-safe function that wakes its event loop. Only the
// JavaScript thread touches N-API values.
//
// Life: created by load(); the loader thread makes the engine; close(), the garbage collector or
// the end of the environment end it. The engine is always ended by a thread of its own, since
// waiting for the running step and giving gigabytes back would hold the event loop up; only the end
// of the environment waits. The thread-safe function is released last, after every native thread is
// joined, and keeps this object alive until then.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "addon/convert.hpp"
#include "engine/engine.hpp"

namespace block_attention::addon {

class EngineState : public std::enable_shared_from_this<EngineState> {
 public:
  static std::shared_ptr<EngineState> create(Napi::Env env, Napi::Function on_events,
                                             Napi::Function on_progress);
  ~EngineState() = default;

  // JavaScript thread. The promise resolves to the engine's JavaScript object.
  Napi::Promise start_loading(LoadSpec spec);
  void abort_loading() { abort_loading_ = true; }
  Napi::Promise close(Napi::Env env);
  // The JavaScript object is gone: begins to close, and waits for nothing.
  void abandon();
  // Keeps the event loop alive while sequences run.
  void hold_loop();
  // Throws Error(kClosed) after close.
  Engine& engine() const;

 private:
  struct Failure {
    ErrorCode code;
    std::string message;
  };
  static Failure failure_of(ErrorCode code, const char* message) noexcept;
  struct Wake {};
  static void call_js(Napi::Env env, Napi::Function, std::shared_ptr<EngineState>* holder, Wake*);
  using Waker = Napi::TypedThreadSafeFunction<std::shared_ptr<EngineState>, Wake, call_js>;

  void load(LoadSpec spec);                     // loader thread
  void push_events(EventList events) noexcept;  // engine thread
  void wake();
  void drain(Napi::Env env);  // JavaScript thread
  bool all_told();
  void settle_loading(Napi::Env env);
  void begin_closing();
  void settle_closing(Napi::Env env);
  void account(int64_t external_bytes);
  void close_now();
  void release_waker();
  static void at_environment_end(void* state);

  napi_env env_ = nullptr;
  Waker waker_;
  bool waker_released_ = false;
  bool loop_held_ = true;
  Napi::FunctionReference on_events_;
  Napi::FunctionReference on_progress_;
  std::optional<Napi::Promise::Deferred> loading_;
  std::vector<Napi::Promise::Deferred> closing_;
  std::thread loader_;
  std::thread closer_;
  std::unique_ptr<Engine> engine_;
  int64_t external_bytes_ = 0;  // that V8 was told of
  bool closed_ = false;
  bool gone_ = false;  // closed, and everything is freed
  std::atomic<bool> abort_loading_{false};

  std::mutex mutex_;  // guards what follows
  bool awake_ = false;
  EventList events_;
  size_t progress_done_ = 0;
  size_t progress_total_ = 0;
  bool progress_changed_ = false;
  std::unique_ptr<Engine> loaded_;
  std::optional<Failure> load_failure_;
  bool loading_ended_ = false;
  bool closing_ended_ = false;
};

}  // namespace block_attention::addon
