// Access to the fake kernel behind a handle, for functions that only tests use.
#pragma once

#include <memory>

#include "binding/call.h"
#include "fake/fake_kernel.h"

namespace binding {

// Throws a TypeError for any other kernel.
std::shared_ptr<fake::FakeKernel> ToFake(const Napi::Value& value);

}  // namespace binding
