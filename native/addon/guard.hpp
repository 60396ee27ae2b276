// Runs the body of an exported function and turns native errors into JavaScript exceptions with a `code`.
#pragma once

#include <napi.h>

#include <new>

#include "addon/convert.hpp"

namespace block_attention::addon {

template <typename Body>
Napi::Value guard(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, ErrorCode::kOutOfMemory, "memory could not be allocated");
  }
}

}  // namespace block_attention::addon
