#include "addon/engine_wrap.hpp"

#include "addon/guard.hpp"

namespace block_attention::addon {
namespace {

// Instance data: one per environment, so that worker threads each have their own class.
struct EnvironmentData {
  Napi::FunctionReference engine_class;
};

// Only create() may construct; a constructor reached from JavaScript carries another external or
// none.
constexpr napi_type_tag kStateTag = {0x6d1c2f3e9a5b4c07ull, 0x8f2e7d61b0c94a35ull};

}  // namespace

void EngineWrap::define(Napi::Env env) {
  auto* data = new EnvironmentData;
  data->engine_class = Napi::Persistent(DefineClass(
      env, "NativeEngine",
      {InstanceMethod<&EngineWrap::submit>("submit"), InstanceMethod<&EngineWrap::abort>("abort"),
       InstanceMethod<&EngineWrap::release>("release"), InstanceMethod<&EngineWrap::stats>("stats"),
       InstanceMethod<&EngineWrap::close>("close")}));
  env.SetInstanceData(data);
}

Napi::Object EngineWrap::create(Napi::Env env, std::shared_ptr<EngineState> state) {
  auto external = Napi::External<std::shared_ptr<EngineState>>::New(env, &state);
  external.TypeTag(&kStateTag);
  Napi::Object object = env.GetInstanceData<EnvironmentData>()->engine_class.New({external});
  object.Set("info", to_js(env, state->engine().info()));
  return object;
}

EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
  if (info.Length() != 1 || !info[0].IsExternal() ||
      !info[0].As<Napi::External<std::shared_ptr<EngineState>>>().CheckTypeTag(&kStateTag)) {
    throw to_js_error(info.Env(), ErrorCode::kInvalidArgument, "a NativeEngine is made by load()");
  }
  state_ = *info[0].As<Napi::External<std::shared_ptr<EngineState>>>().Data();
}

EngineWrap::~EngineWrap() {
  if (state_) state_->abandon();
}

Napi::Value EngineWrap::submit(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] {
    // Reading the argument may run code of the caller, which may close the engine.
    std::vector<SequenceSpec> specs = sequence_specs(info[0]);
    state_->engine().submit(std::move(specs));
    state_->hold_loop();
    return info.Env().Undefined();
  });
}

Napi::Value EngineWrap::abort(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] {
    const int64_t id = sequence_id(info[0]);
    state_->engine().abort(id);
    return info.Env().Undefined();
  });
}

Napi::Value EngineWrap::release(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] {
    const int64_t id = sequence_id(info[0]);
    state_->engine().release(id);
    return info.Env().Undefined();
  });
}

Napi::Value EngineWrap::stats(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] {
    const Napi::Env env = info.Env();
    const Engine& engine = state_->engine();
    Napi::Object stats = to_js(env, engine.stats());
    if (const OpTimes* times = engine.profile()) stats.Set("profile", to_js(env, times->read()));
    stats.Set("externalBytes",
              static_cast<double>(Napi::MemoryManagement::AdjustExternalMemory(env, 0)));
    return Napi::Value(stats);
  });
}

Napi::Value EngineWrap::close(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] { return state_->close(info.Env()); });
}

}  // namespace block_attention::addon
