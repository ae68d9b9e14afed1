// Conversion of arguments to C++ types and of results to JavaScript values, by type. A file adds a type of its own by a
// specialization of FromJs() or ToJs().
#pragma once

#include <napi.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "binding/handle.h"
#include "binding/object.h"

namespace binding {

template <typename T>
inline constexpr bool kIsShared = false;
template <typename T>
inline constexpr bool kIsShared<std::shared_ptr<T>> = true;
template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <typename T>
inline constexpr bool kIsVector = false;
template <typename T>
inline constexpr bool kIsVector<std::vector<T>> = true;

// The typed array that holds elements of type T. Other vectors are arrays, or lists of pairs of 64-bit words.
template <typename T>
struct TypedArray;
template <>
struct TypedArray<uint8_t> {
  using Type = Napi::Uint8Array;
  static constexpr napi_typedarray_type kType = napi_uint8_array;
};
template <>
struct TypedArray<int32_t> {
  using Type = Napi::Int32Array;
  static constexpr napi_typedarray_type kType = napi_int32_array;
};
template <>
struct TypedArray<uint64_t> {
  using Type = Napi::BigUint64Array;
  static constexpr napi_typedarray_type kType = napi_biguint64_array;
};

template <typename T>
concept ArrayElement = requires { TypedArray<T>::kType; };

// A struct of two 64-bit words, such as an IOVA and a length.
template <typename T>
concept WordPair =
    std::is_aggregate_v<T> && sizeof(T) == 2 * sizeof(uint64_t) && requires(uint64_t word) { T{word, word}; };

// The argument of an addon's function. Throws a TypeError for a value of another type.
template <typename T>
T FromJs(const Napi::Value& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.ToBoolean();
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return ToU64(value);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(ToU32(value));
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value.As<Napi::String>();
  } else if constexpr (std::is_same_v<T, Napi::Uint8Array>) {
    return ToArray<T>(value, napi_uint8_array);
  } else if constexpr (std::is_same_v<T, Napi::Uint32Array>) {
    return ToArray<T>(value, napi_uint32_array);
  } else if constexpr (kIsShared<T>) {
    return Unwrap<std::remove_const_t<typename T::element_type>>(value);
  } else if constexpr (kIsOptional<T>) {
    return value.IsUndefined() ? T() : T(FromJs<typename T::value_type>(value));
  } else {
    static_assert(kIsVector<T>, "no conversion to this type");
    using Element = typename T::value_type;
    T elements;
    if constexpr (ArrayElement<Element>) {
      const auto array = ToArray<typename TypedArray<Element>::Type>(value, TypedArray<Element>::kType);
      elements.assign(array.Data(), array.Data() + array.ElementLength());
    } else if constexpr (WordPair<Element>) {
      const auto words = FromJs<std::vector<uint64_t>>(value);
      for (std::size_t i = 0; i + 1 < words.size(); i += 2) elements.push_back({words[i], words[i + 1]});
    } else {
      const auto list = value.As<Napi::Array>();
      for (uint32_t i = 0; i < list.Length(); ++i) elements.push_back(FromJs<Element>(list.Get(i)));
    }
    return elements;
  }
}

// The result of an addon's function. uint64_t becomes a bigint. nullptr and nullopt become undefined.
template <typename T>
Napi::Value ToJs(Napi::Env env, const T& value) {
  if constexpr (std::is_same_v<T, Nothing>) {
    return env.Undefined();
  } else if constexpr (std::is_same_v<T, uint64_t>) {
    return FromU64(env, value);
  } else if constexpr (kIsShared<T>) {
    return value ? Wrap(env, value) : env.Undefined();
  } else if constexpr (kIsOptional<T>) {
    return value ? ToJs(env, *value) : env.Undefined();
  } else if constexpr (kIsVector<T>) {
    using Element = typename T::value_type;
    if constexpr (ArrayElement<Element>) {
      auto array = TypedArray<Element>::Type::New(env, value.size());
      std::copy(value.begin(), value.end(), array.Data());
      return array;
    } else {
      List list(env);
      for (const auto& element : value) list.Append(element);
      return list;
    }
  } else {
    return Napi::Value::From(env, value);
  }
}

}  // namespace binding
