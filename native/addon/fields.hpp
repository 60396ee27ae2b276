// Reads a field of a JavaScript object with its type and range checked; the error names the field.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace block_attention::addon {

[[noreturn]] inline void wrong_type(const std::string& field, const char* wanted) {
  throw Error(ErrorCode::kInvalidArgument, field + " must be " + wanted);
}

inline Napi::Object as_object(const Napi::Value& value, const std::string& field) {
  if (!value.IsObject()) wrong_type(field, "an object");
  return value.As<Napi::Object>();
}

inline Napi::Array as_array(const Napi::Value& value, const std::string& field) {
  if (!value.IsArray()) wrong_type(field, "an array");
  return value.As<Napi::Array>();
}

inline double as_number(const Napi::Value& value, const std::string& field) {
  if (!value.IsNumber()) wrong_type(field, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) wrong_type(field, "a finite number");
  return number;
}

inline double as_number_between(const Napi::Value& value, const std::string& field, double low,
                                double high) {
  const double number = as_number(value, field);
  if (number < low || number > high) {
    throw Error(ErrorCode::kInvalidArgument, field + " must lie between " + std::to_string(low) +
                                                 " and " + std::to_string(high));
  }
  return number;
}

inline float as_float(const Napi::Value& value, const std::string& field, double low, double high) {
  return static_cast<float>(as_number_between(value, field, low, high));
}

inline int64_t as_integer(const Napi::Value& value, const std::string& field, int64_t low,
                          int64_t high) {
  const double number = as_number(value, field);
  if (number != std::floor(number) || number < static_cast<double>(low) ||
      number > static_cast<double>(high)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        field + " must be an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return static_cast<int64_t>(number);
}

inline int32_t as_int32(const Napi::Value& value, const std::string& field, int32_t low = 0) {
  return static_cast<int32_t>(as_integer(value, field, low, INT32_MAX));
}

// The largest integer that a JavaScript number holds exactly.
constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

inline bool as_bool(const Napi::Value& value, const std::string& field) {
  if (!value.IsBoolean()) wrong_type(field, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

inline std::string as_string(const Napi::Value& value, const std::string& field) {
  if (!value.IsString()) wrong_type(field, "a string");
  return value.As<Napi::String>().Utf8Value();
}

inline std::vector<int32_t> as_int32_array(const Napi::Value& value, const std::string& field) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    wrong_type(field, "an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  const size_t length = array.ElementLength();
  if (length == 0) return {};
  const int32_t* data = array.Data();
  return {data, data + length};
}

// Calls convert(element, name) for every element of an array field.
template <typename Result, typename Convert>
std::vector<Result> as_vector(const Napi::Value& value, const std::string& field, Convert convert) {
  const Napi::Array array = as_array(value, field);
  std::vector<Result> result;
  const uint32_t length = array.Length();
  for (uint32_t i = 0; i < length; ++i) {
    const Napi::HandleScope scope(array.Env());
    result.push_back(convert(array.Get(i), field + "[" + std::to_string(i) + "]"));
  }
  return result;
}

}  // namespace block_attention::addon
