// JavaScript values to the engine's plain structs and back. Everything that arrives is checked
// here: TypeScript's types are no defence. Throws block_attention::Error naming the field.
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "addon/devices.hpp"
#include "core/error.hpp"
#include "engine/engine.hpp"
#include "model/file_weights.hpp"
#include "model/model_config.hpp"

namespace block_attention::addon {

struct RandomWeightsSpec {
  uint64_t seed = 0;
  DType dtype = DType::kBF16;
};

struct LoadSpec {
  ModelConfig config;
  bool random = false;
  RandomWeightsSpec random_weights;
  std::vector<std::string> files;
  std::vector<TensorLocation> tensors;
  WeightFormat weight_format = WeightFormat::kStored;
  std::string weights_cache;  // a folder, with kInt8 alone; empty: none
  DeviceSpec device;
  size_t memory_bytes = 0;  // that the process may use
  EngineOptions options;    // cache_bytes 0: not said
};

LoadSpec load_spec(const Napi::Value& config, const Napi::Value& weights,
                   const Napi::Value& options);
std::vector<SequenceSpec> sequence_specs(const Napi::Value& value);
int64_t sequence_id(const Napi::Value& value);

Napi::Object to_js(Napi::Env env, const EngineInfo& info);
Napi::Object to_js(Napi::Env env, const EngineStats& stats);
Napi::Object to_js(Napi::Env env, const GpuDescription& gpu);
Napi::Array to_js(Napi::Env env, const std::vector<OpTime>& times);
Napi::Array to_js(Napi::Env env, const EventList& events);
// An Error object with a `code`. Allocates nothing on this side of N-API, so that running out of
// memory can be told.
Napi::Error to_js_error(Napi::Env env, ErrorCode code, const char* message);

}  // namespace block_attention::addon
