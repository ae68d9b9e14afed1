// A VF token as JavaScript passes it: 16 bytes, in the order in which a UUID is written.
#pragma once

#include <algorithm>

#include "binding/convert.h"
#include "core/vfio.h"

namespace binding {

template <>
inline core::VfioDevice::Token FromJs(const Napi::Value& value) {
  const auto bytes = FromJs<Napi::Uint8Array>(value);
  core::VfioDevice::Token token = {};
  if (bytes.ByteLength() != token.size()) throw Napi::TypeError::New(value.Env(), "expected 16 bytes");
  std::copy_n(bytes.Data(), token.size(), token.begin());
  return token;
}

}  // namespace binding
