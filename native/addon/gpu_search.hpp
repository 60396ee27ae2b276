// What GPU there is, told without an engine, and without holding the event loop up.
#pragma once

#include <napi.h>

namespace block_attention::addon {

// A promise of GpuReport (lib/native.ts).
Napi::Promise find_gpu(Napi::Env env);

}  // namespace block_attention::addon
