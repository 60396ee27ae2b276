// The JavaScript object of a loaded engine (NativeEngine in lib/native.ts).
#pragma once

#include <napi.h>

#include <memory>

#include "addon/engine_state.hpp"

namespace block_attention::addon {

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  // Makes the class known to this environment; call once per environment.
  static void define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<EngineState> state);

  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value abort(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<EngineState> state_;
};

}  // namespace block_attention::addon
