// Conversion of arguments and results between JavaScript and core.
#include "binding/call.h"

#include <algorithm>
#include <cmath>

namespace binding {

uint64_t ToU64(const Napi::Value& value) {
  bool lossless = false;
  uint64_t result = 0;
  if (value.IsBigInt()) result = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw Napi::TypeError::New(value.Env(), "expected a bigint of 64 bits");
  return result;
}

uint32_t ToU32(const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= UINT32_MAX) || number != std::floor(number)) {
    throw Napi::TypeError::New(value.Env(), "expected an integer of 32 bits");
  }
  return static_cast<uint32_t>(number);
}

std::optional<uint64_t> ToOptionalU64(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  return ToU64(value);
}

std::vector<uint8_t> ToBytes(const Napi::Value& value) {
  if (!value.IsTypedArray()) throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.Data() + array.ByteLength()};
}

Napi::Value FromU64(Napi::Env env, uint64_t value) { return Napi::BigInt::New(env, value); }

Napi::Value FromBytes(Napi::Env env, const std::vector<uint8_t>& bytes) {
  auto array = Napi::Uint8Array::New(env, bytes.size());
  std::copy(bytes.begin(), bytes.end(), array.Data());
  return array;
}

}  // namespace binding
