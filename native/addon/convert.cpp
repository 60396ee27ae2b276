#include "addon/convert.hpp"

#include <algorithm>
#include <cstring>

#include "addon/fields.hpp"

namespace block_attention::addon {
namespace {

DType dtype_field(const Napi::Value& value, const std::string& field) {
  const std::string name = as_string(value, field);
  if (name == "bf16") return DType::kBF16;
  if (name == "f16") return DType::kF16;
  if (name == "f32") return DType::kF32;
  wrong_type(field, "\"bf16\", \"f16\" or \"f32\"");
}

DeviceKind device_kind(const Napi::Value& value, const std::string& field) {
  const std::string name = as_string(value, field);
  if (name == "auto") return DeviceKind::kAuto;
  if (name == "cpu") return DeviceKind::kCpu;
  if (name == "cuda") return DeviceKind::kCuda;
  if (name == "cuda-emulated") return DeviceKind::kCudaEmulated;
  wrong_type(field, "\"auto\", \"cpu\", \"cuda\" or \"cuda-emulated\"");
}

DType kv_dtype_field(const Napi::Value& value, const std::string& field) {
  const std::string name = as_string(value, field);
  if (name == "bf16") return DType::kBF16;
  if (name == "f32") return DType::kF32;
  if (name == "int8") return DType::kI8;
  wrong_type(field, "\"bf16\", \"f32\" or \"int8\"");
}

WeightFormat weight_format(const Napi::Value& value, const std::string& field) {
  const std::string name = as_string(value, field);
  if (name == "stored") return WeightFormat::kStored;
  if (name == "int8") return WeightFormat::kInt8;
  wrong_type(field, "\"stored\" or \"int8\"");
}

ModelConfig model_config(const Napi::Value& value) {
  const Napi::Object object = as_object(value, "config");
  const auto integer = [&](const char* name) {
    return as_int32(object.Get(name), std::string("config.") + name);
  };
  ModelConfig config;
  config.vocab_size = integer("vocabSize");
  config.hidden_size = integer("hiddenSize");
  config.intermediate_size = integer("intermediateSize");
  config.num_layers = integer("numLayers");
  config.num_heads = integer("numHeads");
  config.num_kv_heads = integer("numKvHeads");
  config.head_dim = integer("headDim");
  config.rms_norm_eps = as_float(object.Get("rmsNormEps"), "config.rmsNormEps", 0, 1e6);
  config.tie_word_embeddings = as_bool(object.Get("tieWordEmbeddings"), "config.tieWordEmbeddings");
  config.qk_norm = as_bool(object.Get("qkNorm"), "config.qkNorm");
  config.windows = as_vector<int32_t>(
      object.Get("windows"), "config.windows",
      [](const Napi::Value& v, const std::string& name) { return as_int32(v, name); });
  config.inv_freq = as_vector<double>(object.Get("invFreq"), "config.invFreq", as_number);
  config.rope_attention_factor =
      as_number_between(object.Get("ropeAttentionFactor"), "config.ropeAttentionFactor", 0, 1e6);
  config.validate();
  return config;
}

TensorLocation tensor_location(const Napi::Value& value, const std::string& field) {
  const Napi::Object object = as_object(value, field);
  TensorLocation tensor;
  tensor.name = as_string(object.Get("name"), field + ".name");
  tensor.file = static_cast<size_t>(as_int32(object.Get("file"), field + ".file"));
  tensor.dtype = dtype_field(object.Get("dtype"), field + ".dtype");
  tensor.shape = as_vector<int64_t>(object.Get("shape"), field + ".shape",
                                    [](const Napi::Value& v, const std::string& name) {
                                      return as_integer(v, name, 0, INT32_MAX);
                                    });
  tensor.offset = static_cast<uint64_t>(
      as_integer(object.Get("offset"), field + ".offset", 0, kMaxSafeInteger));
  tensor.bytes =
      static_cast<uint64_t>(as_integer(object.Get("bytes"), field + ".bytes", 0, kMaxSafeInteger));
  return tensor;
}

SamplingParams sampling_params(const Napi::Value& value, const std::string& field) {
  const Napi::Object object = as_object(value, field);
  const auto number = [&](const char* name, double low, double high) {
    return as_float(object.Get(name), field + "." + name, low, high);
  };
  SamplingParams params;
  params.temperature = number("temperature", 0, 1e6);
  params.top_k = as_int32(object.Get("topK"), field + ".topK");
  params.top_p = number("topP", 0, 1);
  params.min_p = number("minP", 0, 1);
  params.repetition_penalty = number("repetitionPenalty", 1e-6, 1e6);
  params.presence_penalty = number("presencePenalty", -1e6, 1e6);
  params.frequency_penalty = number("frequencyPenalty", -1e6, 1e6);
  params.seed =
      static_cast<uint64_t>(as_integer(object.Get("seed"), field + ".seed", 0, kMaxSafeInteger));
  params.top_logprobs = as_int32(object.Get("topLogprobs"), field + ".topLogprobs", -1);
  params.logit_bias = as_vector<std::pair<int32_t, float>>(
      object.Get("logitBias"), field + ".logitBias",
      [](const Napi::Value& v, const std::string& name) {
        const Napi::Array pair = as_array(v, name);
        return std::pair<int32_t, float>(as_int32(pair.Get(0u), name + "[0]"),
                                         as_float(pair.Get(1u), name + "[1]", -1e6, 1e6));
      });
  return params;
}

GenerationSpec generation_spec(const Napi::Value& value, const std::string& field) {
  const Napi::Object object = as_object(value, field);
  GenerationSpec spec;
  spec.max_tokens = as_int32(object.Get("maxTokens"), field + ".maxTokens", 1);
  spec.stop_tokens = as_vector<int32_t>(
      object.Get("stopTokens"), field + ".stopTokens",
      [](const Napi::Value& v, const std::string& name) { return as_int32(v, name); });
  spec.sampling = sampling_params(object.Get("sampling"), field + ".sampling");
  spec.history = as_int32_array(object.Get("history"), field + ".history");
  return spec;
}

SequenceSpec sequence_spec(const Napi::Value& value, const std::string& field) {
  const Napi::Object object = as_object(value, field);
  SequenceSpec spec;
  spec.id = as_integer(object.Get("id"), field + ".id", 0, kMaxSafeInteger);
  spec.segments = as_vector<SegmentSpec>(
      object.Get("segments"), field + ".segments",
      [](const Napi::Value& v, const std::string& name) {
        const Napi::Object segment = as_object(v, name);
        return SegmentSpec{as_integer(segment.Get("id"), name + ".id", 0, kMaxSafeInteger),
                           as_int32(segment.Get("offset"), name + ".offset")};
      });
  spec.offset = as_int32(object.Get("offset"), field + ".offset");
  spec.tokens = as_int32_array(object.Get("tokens"), field + ".tokens");
  const Napi::Value generation = object.Get("generation");
  if (!generation.IsUndefined())
    spec.generation = generation_spec(generation, field + ".generation");
  const Napi::Value fork_of = object.Get("forkOf");
  if (!fork_of.IsUndefined())
    spec.fork_of = as_integer(fork_of, field + ".forkOf", 0, kMaxSafeInteger);
  return spec;
}

template <typename Array, typename Element>
Array typed_array(Napi::Env env, const std::vector<Element>& values) {
  Array array = Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(Element));
  return array;
}

const char* state_name(WeightsCacheReport::State state) {
  switch (state) {
    case WeightsCacheReport::State::kRead:
      return "read";
    case WeightsCacheReport::State::kWritten:
      return "written";
    default:
      return "failed";
  }
}

Napi::Object to_js(Napi::Env env, const WeightsCacheReport& report) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("state", state_name(report.state));
  object.Set("file", report.file);
  if (!report.problem.empty()) object.Set("problem", report.problem);
  return object;
}

Napi::Object to_js(Napi::Env env, const SequenceEvent& event) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", static_cast<double>(event.id));
  if (!event.tokens.empty()) {
    object.Set("tokens", typed_array<Napi::Int32Array>(env, event.tokens));
    object.Set("times", typed_array<Napi::Float64Array>(env, event.times));
  }
  if (!event.logprobs.empty()) {
    object.Set("logprobs", typed_array<Napi::Float32Array>(env, event.logprobs));
    object.Set("topTokens", typed_array<Napi::Int32Array>(env, event.top_tokens));
    object.Set("topLogprobs", typed_array<Napi::Float32Array>(env, event.top_logprobs));
  }
  if (event.finish != Finish::kNone) object.Set("finish", finish_name(event.finish));
  if (event.finish == Finish::kError) {
    Napi::Object error = Napi::Object::New(env);
    error.Set("code", error_code_name(event.error_code));
    error.Set("message", event.error_message);
    object.Set("error", error);
  }
  if (event.first) {
    object.Set("startedAt", event.started_at);
    object.Set("finishedAt", event.finished_at);
    object.Set("flops", event.flops);
    object.Set("copiedTokens", event.copied_rows);
  }
  return object;
}

}  // namespace

LoadSpec load_spec(const Napi::Value& config, const Napi::Value& weights,
                   const Napi::Value& options) {
  LoadSpec spec;
  spec.config = model_config(config);

  const Napi::Object weights_object = as_object(weights, "weights");
  spec.random = weights_object.Has("seed");
  if (spec.random) {
    spec.random_weights.seed = static_cast<uint64_t>(
        as_integer(weights_object.Get("seed"), "weights.seed", 0, kMaxSafeInteger));
    spec.random_weights.dtype = dtype_field(weights_object.Get("dtype"), "weights.dtype");
  } else {
    spec.files = as_vector<std::string>(weights_object.Get("files"), "weights.files", as_string);
    spec.tensors = as_vector<TensorLocation>(weights_object.Get("tensors"), "weights.tensors",
                                             tensor_location);
  }

  const Napi::Object options_object = as_object(options, "options");
  spec.device.kind = device_kind(options_object.Get("device"), "options.device");
  spec.device.threads =
      static_cast<int32_t>(as_integer(options_object.Get("threads"), "options.threads", 1, 1024));
  spec.device.deterministic = as_bool(options_object.Get("deterministic"), "options.deterministic");
  spec.device.float32 = as_bool(options_object.Get("float32"), "options.float32");
  spec.weight_format = weight_format(options_object.Get("weightFormat"), "options.weightFormat");
  const Napi::Value weights_cache = options_object.Get("weightsCache");
  if (!weights_cache.IsUndefined()) {
    spec.weights_cache = as_string(weights_cache, "options.weightsCache");
    if (spec.weights_cache.empty() || spec.weight_format != WeightFormat::kInt8 || spec.random) {
      wrong_type("options.weightsCache", "a folder, beside weightFormat \"int8\" and files");
    }
  }
  const Napi::Value kv_dtype = options_object.Get("kvDtype");
  if (!kv_dtype.IsUndefined()) {
    spec.options.kv_dtype = kv_dtype_field(kv_dtype, "options.kvDtype");
  }
  spec.memory_bytes = static_cast<size_t>(
      as_integer(options_object.Get("memoryBytes"), "options.memoryBytes", 1, kMaxSafeInteger));
  const Napi::Value cache_bytes = options_object.Get("cacheBytes");
  if (!cache_bytes.IsUndefined()) {
    spec.options.cache_bytes =
        static_cast<size_t>(as_integer(cache_bytes, "options.cacheBytes", 1, kMaxSafeInteger));
  }
  spec.options.max_batch_tokens = static_cast<int32_t>(
      as_integer(options_object.Get("maxBatchTokens"), "options.maxBatchTokens", 1, 1 << 16));
  spec.options.max_positions =
      as_int32(options_object.Get("maxPositions"), "options.maxPositions", 1);
  spec.options.profile = as_bool(options_object.Get("profile"), "options.profile");
  return spec;
}

std::vector<SequenceSpec> sequence_specs(const Napi::Value& value) {
  return as_vector<SequenceSpec>(value, "sequences", sequence_spec);
}

int64_t sequence_id(const Napi::Value& value) {
  return as_integer(value, "id", 0, kMaxSafeInteger);
}

Napi::Object to_js(Napi::Env env, const EngineInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("device", info.device);
  object.Set("numerics", info.numerics);
  object.Set("deviceProblem", info.device_problem);
  if (info.weights_cache.state != WeightsCacheReport::State::kOff)
    object.Set("weightsCache", to_js(env, info.weights_cache));
  object.Set("kvDtype", dtype_name(info.kv_dtype));
  object.Set("pageTokens", info.page_tokens);
  object.Set("pageBytes", static_cast<double>(info.page_bytes));
  object.Set("pages", info.pages);
  object.Set("weightBytes", static_cast<double>(info.weight_bytes));
  return object;
}

Napi::Object to_js(Napi::Env env, const EngineStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("freePages", stats.free_pages);
  object.Set("running", stats.running);
  object.Set("steps", static_cast<double>(stats.steps));
  object.Set("rows", static_cast<double>(stats.rows));
  return object;
}

Napi::Object to_js(Napi::Env env, const GpuDescription& gpu) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("available", gpu.problem.empty());
  if (!gpu.problem.empty()) {
    object.Set("problem", gpu.problem);
    return object;
  }
  object.Set("name", gpu.name);
  object.Set("computeCapability", std::to_string(gpu.compute_capability / 10) + "." +
                                      std::to_string(gpu.compute_capability % 10));
  object.Set("memoryBytes", static_cast<double>(gpu.memory_bytes));
  object.Set("gemm", gpu.gemm);
  if (!gpu.gemm_problem.empty()) object.Set("gemmProblem", gpu.gemm_problem);
  return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<OpTime>& times) {
  Napi::Array array = Napi::Array::New(env, times.size());
  uint32_t index = 0;
  for (const OpTime& time : times) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("op", time.op);
    object.Set("calls", static_cast<double>(time.calls));
    object.Set("milliseconds", time.milliseconds);
    array.Set(index++, object);
  }
  return array;
}

Napi::Array to_js(Napi::Env env, const EventList& events) {
  Napi::Array array = Napi::Array::New(env, events.size());
  uint32_t index = 0;
  for (const SequenceEvent& event : events) {
    const Napi::HandleScope scope(env);
    array.Set(index++, to_js(env, event));
  }
  return array;
}

Napi::Error to_js_error(Napi::Env env, ErrorCode code, const char* message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, error_code_name(code)));
  return error;
}

}  // namespace block_attention::addon
