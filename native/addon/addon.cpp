// What the addon exports: load(config, weights, options, onEvents, onProgress) -> { promise,
// abort() }, the typed face of which is lib/native.ts.
#include <napi.h>

#include "addon/convert.hpp"
#include "addon/engine_state.hpp"
#include "addon/engine_wrap.hpp"
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

Napi::Object init(Napi::Env env, Napi::Object exports) {
  EngineWrap::define(env);
  exports.Set("load", Napi::Function::New<load>(env, "load"));
  return exports;
}

}  // namespace
}  // namespace block_attention::addon

static Napi::Object block_attention_init(Napi::Env env, Napi::Object exports) {
  return block_attention::addon::init(env, exports);
}

NODE_API_MODULE(block_attention, block_attention_init)
