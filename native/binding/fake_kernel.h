// The fake kernel behind a handle, for the functions that only tests use.
#pragma once

#include <memory>

#include "binding/call.h"
#include "fake/fake_kernel.h"

namespace binding {

// A TypeError for any other kernel.
std::shared_ptr<fake::FakeKernel> ToFake(const Napi::Value& value);

}  // namespace binding
