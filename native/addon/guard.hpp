// Runs the body of an exported function and turns native exceptions into JavaScript ones with a
// `code`. Exceptions of JavaScript (thrown by a getter, say) pass. Anything else would end the
// process.
#pragma once

#include <napi.h>

#include <exception>
#include <new>
#include <system_error>

#include "addon/convert.hpp"

namespace block_attention::addon {

template <typename Body>
Napi::Value guard(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js_error(env, error.code(), error.what());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw to_js_error(env, ErrorCode::kOutOfMemory, "memory could not be allocated");
  } catch (const std::system_error&) {
    throw to_js_error(env, ErrorCode::kOutOfMemory, "a thread could not be started");
  } catch (const std::exception& error) {
    throw to_js_error(env, ErrorCode::kInternal, error.what());
  }
}

}  // namespace block_attention::addon
