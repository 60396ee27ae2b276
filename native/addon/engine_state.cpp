#include "addon/engine_state.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "addon/engine_wrap.hpp"
#include "addon/guard.hpp"
#include "model/file_weights.hpp"
#include "model/random_weights.hpp"
#include "model/weights_cache.hpp"

namespace block_attention::addon {
namespace {

std::unique_ptr<Engine> make_engine(LoadSpec& spec, const std::atomic<bool>& aborted,
                                    FunctionRef<void(size_t, size_t)> progress, EventSink sink) {
  std::unique_ptr<WeightSource> source;
  if (spec.random) {
    source = std::make_unique<RandomWeights>(spec.config, spec.random_weights.seed,
                                             spec.random_weights.dtype);
  } else {
    source = std::make_unique<FileWeights>(spec.files, spec.tensors);
  }
  spec.device.weight_format = spec.weight_format;
  spec.device.kv_dtype = spec.options.kv_dtype;
  ChosenDevice device = choose_device(spec.device);
  const auto report = [&](size_t done, size_t total) {
    if (aborted) throw Error(ErrorCode::kAborted, "loading was aborted");
    progress(done, total);
  };
  EngineOptions& options = spec.options;
  ModelWeights weights =
      spec.weights_cache.empty()
          ? load_weights(spec.config, *source, *device.backend, spec.weight_format, report)
          : load_cached_weights(spec.config, *source, *device.backend, spec.weights_cache, report,
                                options.weights_cache);
  options.device_problem = std::move(device.problem);
  if (options.cache_bytes == 0) options.cache_bytes = device.backend->default_cache_bytes();
  if (options.cache_bytes == 0) options.cache_bytes = spec.memory_bytes / 4;
  return std::make_unique<Engine>(std::move(spec.config), std::move(device.backend),
                                  std::move(weights), options, std::move(sink));
}

}  // namespace

std::shared_ptr<EngineState> EngineState::create(Napi::Env env, Napi::Function on_events,
                                                 Napi::Function on_progress) {
  auto state = std::make_shared<EngineState>();
  state->env_ = env;
  state->on_events_ = Napi::Persistent(on_events);
  state->on_progress_ = Napi::Persistent(on_progress);
  // The context holds the state until the thread-safe function is gone.
  auto holder = std::make_unique<std::shared_ptr<EngineState>>(state);
  state->waker_ = Waker::New(
      env, "block_attention", 0, 1, holder.get(),
      [](Napi::Env, void*, std::shared_ptr<EngineState>* context) { delete context; },
      static_cast<void*>(nullptr));
  static_cast<void>(holder.release());
  // Hooks run last in, first out: ours comes before the thread-safe function's own.
  napi_add_env_cleanup_hook(env, at_environment_end, state.get());
  return state;
}

Napi::Promise EngineState::start_loading(LoadSpec spec) {
  loading_.emplace(Napi::Promise::Deferred::New(env_));
  Napi::Promise promise = loading_->Promise();
  try {
    loader_ = std::thread([this, spec = std::move(spec)]() mutable { load(std::move(spec)); });
  } catch (...) {
    release_waker();
    throw;
  }
  return promise;
}

void EngineState::load(LoadSpec spec) {
  std::unique_ptr<Engine> engine;
  std::optional<Failure> failure;
  try {
    engine = make_engine(
        spec, abort_loading_,
        [this](size_t done, size_t total) {
          const std::lock_guard lock(mutex_);
          progress_done_ = std::max(progress_done_, done);
          progress_total_ = total;
          progress_changed_ = true;
          wake();
        },
        [this](EventList events) { push_events(std::move(events)); });
  } catch (const Error& error) {
    failure = failure_of(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    failure = failure_of(ErrorCode::kOutOfMemory, "memory for the model could not be allocated");
  } catch (const std::exception& error) {
    failure = failure_of(ErrorCode::kInternal, error.what());
  }
  // A promise is not settled before everything it stands for is freed.
  spec = {};
  const std::lock_guard lock(mutex_);
  loaded_ = std::move(engine);
  load_failure_ = std::move(failure);
  loading_ended_ = true;
  wake();
}

EngineState::Failure EngineState::failure_of(ErrorCode code, const char* message) noexcept {
  try {
    return {code, message};
  } catch (const std::bad_alloc&) {
    return {code, "out of memory"};  // so short that the string holds it in itself
  }
}

void EngineState::push_events(EventList events) noexcept {
  const std::lock_guard lock(mutex_);
  append_events(events_, std::move(events));
  wake();
}

// Called with the mutex held. One call in flight is enough: it drains everything.
void EngineState::wake() {
  if (awake_) return;
  awake_ = waker_.NonBlockingCall() == napi_ok;
}

void EngineState::call_js(Napi::Env env, Napi::Function, std::shared_ptr<EngineState>* holder,
                          Wake*) {
  if (env == nullptr || holder == nullptr) return;  // the environment is going down
  const std::shared_ptr<EngineState> state = *holder;
  try {
    guard(env, [&] {
      state->drain(env);
      return env.Undefined();
    });
  } catch (const Napi::Error& error) {
    // Node only warns of what a callback like this throws; a defect must not pass that quietly.
    napi_fatal_exception(env, error.Value());
  }
}

void EngineState::drain(Napi::Env env) {
  EventList events;
  bool progress;
  double done;
  double total;
  bool loaded;
  bool closed;
  {
    const std::lock_guard lock(mutex_);
    awake_ = false;
    events.swap(events_);
    progress = std::exchange(progress_changed_, false);
    done = static_cast<double>(progress_done_);
    total = static_cast<double>(progress_total_);
    loaded = std::exchange(loading_ended_, false);
    closed = std::exchange(closing_ended_, false);
  }
  const Napi::HandleScope scope(env);
  // Every piece of news comes once, so what one callback throws must not keep the others from
  // theirs.
  std::exception_ptr failure;
  const auto attempt = [&failure](auto&& body) {
    try {
      body();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  };
  if (progress && !on_progress_.IsEmpty()) {
    attempt([&] {
      on_progress_.Call({Napi::Number::New(env, done), Napi::Number::New(env, total)});
    });
  }
  if (loaded) attempt([&] { settle_loading(env); });
  if (!events.empty() && !on_events_.IsEmpty())
    attempt([&] { on_events_.Call({to_js(env, events)}); });
  if (engine_) account(static_cast<int64_t>(engine_->memory_bytes()));
  if (closed) {
    attempt([&] { settle_closing(env); });
  } else if (loop_held_ && engine_ && all_told()) {
    attempt([&] { waker_.Unref(env); });
    loop_held_ = false;
  }
  if (failure) std::rethrow_exception(failure);
}

// Whether nothing runs, and JavaScript knows of everything that ran. That nothing runs is not
// enough: a sequence stops running before its last event is here.
bool EngineState::all_told() {
  if (engine_->stats().unreported > 0) return false;
  const std::lock_guard lock(mutex_);
  return events_.empty() && !awake_;
}

void EngineState::hold_loop() {
  if (loop_held_ || waker_released_) return;
  waker_.Ref(env_);
  loop_held_ = true;
}

void EngineState::settle_loading(Napi::Env env) {
  loader_.join();
  engine_ = std::move(loaded_);
  // Whatever the caller's function holds, perhaps the engine, must not live as long as the engine.
  on_progress_.Reset();
  Napi::Promise::Deferred deferred = *std::exchange(loading_, std::nullopt);
  if (load_failure_) {
    release_waker();
    deferred.Reject(to_js_error(env, load_failure_->code, load_failure_->message.c_str()).Value());
    return;
  }
  account(static_cast<int64_t>(engine_->memory_bytes()));
  try {
    deferred.Resolve(EngineWrap::create(env, shared_from_this()));
  } catch (const Napi::Error& error) {
    abandon();
    deferred.Reject(error.Value());
  }
}

// Tells V8 how much memory hangs on the JavaScript object, so that it collects one that was
// dropped.
void EngineState::account(int64_t external_bytes) {
  if (external_bytes == external_bytes_) return;
  Napi::MemoryManagement::AdjustExternalMemory(env_, external_bytes - external_bytes_);
  external_bytes_ = external_bytes;
}

Engine& EngineState::engine() const {
  if (closed_ || engine_ == nullptr) throw Error(ErrorCode::kClosed, "the engine is closed");
  return *engine_;
}

Napi::Promise EngineState::close(Napi::Env env) {
  Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  if (gone_) {
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  closing_.push_back(deferred);
  if (closed_) return deferred.Promise();
  hold_loop();
  begin_closing();
  return deferred.Promise();
}

void EngineState::abandon() {
  if (!closed_) begin_closing();
}

void EngineState::begin_closing() {
  closed_ = true;
  const auto ended = [this] {
    const std::lock_guard lock(mutex_);
    closing_ended_ = true;
    wake();
  };
  try {
    closer_ = std::thread([engine = std::move(engine_), ended]() mutable {
      engine.reset();
      ended();
    });
  } catch (const std::exception&) {
    // No thread could be started. The engine went down with the function that it was moved into.
    ended();
  }
}

void EngineState::settle_closing(Napi::Env env) {
  if (closer_.joinable()) closer_.join();
  gone_ = true;
  account(0);
  release_waker();
  for (const Napi::Promise::Deferred& deferred : std::exchange(closing_, {}))
    deferred.Resolve(env.Undefined());
}

void EngineState::close_now() {
  if (waker_released_) return;
  abort_loading_ = true;
  closed_ = true;
  if (loader_.joinable()) loader_.join();
  if (closer_.joinable()) closer_.join();
  loaded_.reset();
  engine_.reset();
  account(0);
  release_waker();
}

void EngineState::release_waker() {
  if (waker_released_) return;
  waker_released_ = true;
  napi_remove_env_cleanup_hook(env_, at_environment_end, this);
  on_events_.Reset();
  on_progress_.Reset();
  waker_.Release();
}

void EngineState::at_environment_end(void* state) {
  // Nothing of JavaScript runs any more, so this may and must wait for the threads.
  static_cast<EngineState*>(state)->close_now();
}

}  // namespace block_attention::addon
