// What the addon exports: load(config, weights, options, onEvents, onProgress) -> { promise,
// abort() }, findGpu() -> promise, and the list `devices`; lib/native.ts is the typed face.
#include <napi.h>

#include "addon/convert.hpp"
#include "addon/devices.hpp"
#include "addon/engine_state.hpp"
#include "addon/engine_wrap.hpp"
#include "addon/gpu_search.hpp"
#include "addon/guard.hpp"

namespace block_attention::addon {
namespace {

Napi::Value load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guard(env, [&] {
    LoadSpec spec = load_spec(info[0], info[1], info[2]);
    if (!info[3].IsFunction() || !info[4].IsFunction()) {
      throw Error(ErrorCode::kInvalidArgument, "onEvents and onProgress must be functions");
    }
    std::shared_ptr<EngineState> state =
        EngineState::create(env, info[3].As<Napi::Function>(), info[4].As<Napi::Function>());
    Napi::Object loading = Napi::Object::New(env);
    loading.Set("promise", state->start_loading(std::move(spec)));
    loading.Set("abort", Napi::Function::New(
                             env, [state](const Napi::CallbackInfo&) { state->abort_loading(); }));
    return loading;
  });
}

Napi::Value find_gpu_export(const Napi::CallbackInfo& info) {
  return guard(info.Env(), [&] { return find_gpu(info.Env()); });
}

Napi::Array devices(Napi::Env env) {
  Napi::Array names = Napi::Array::New(env);
  uint32_t index = 0;
  for (const char* name : built_devices()) names.Set(index++, name);
  return names;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  EngineWrap::define(env);
  exports.Set("load", Napi::Function::New<load>(env, "load"));
  exports.Set("findGpu", Napi::Function::New<find_gpu_export>(env, "findGpu"));
  exports.Set("devices", devices(env));
  return exports;
}

}  // namespace
}  // namespace block_attention::addon

static Napi::Object block_attention_init(Napi::Env env, Napi::Object exports) {
  return block_attention::addon::init(env, exports);
}

NODE_API_MODULE(block_attention, block_attention_init)
