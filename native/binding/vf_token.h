// A VF token as JavaScript passes it: 16 bytes, in the order in which a UUID is written.
#pragma once

#include <algorithm>

#include "binding/call.h"
#include "core/vfio.h"

namespace binding {

inline core::VfioDevice::Token ToToken(const Napi::Value& value) {
  const auto bytes = ToArray<Napi::Uint8Array>(value, napi_uint8_array);
  core::VfioDevice::Token token = {};
  if (bytes.ByteLength() != token.size()) throw Napi::TypeError::New(value.Env(), "expected 16 bytes");
  std::copy_n(bytes.Data(), token.size(), token.begin());
  return token;
}

}  // namespace binding
