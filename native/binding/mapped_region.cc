// Register accessors. Programs call them often, so each mapping has its own functions of plain Node-API, whose data is
// the mapping: a call unwraps no handle.
#include <cmath>
#include <concepts>

#include "binding/addon.h"
#include "binding/bus_errors.h"

namespace binding {
namespace {

// The data of each accessor: a share of the mapping.
using Registers = std::shared_ptr<core::Mapping>;

napi_value Refuse(napi_env env, CreateError create, const char* code, const char* message) {
  Raise(env, NewError(env, create, code, message));
  return nullptr;
}

napi_value RefuseAccess(napi_env env, const core::Mapping& mapping) {
  if (mapping.retired()) return Refuse(env, napi_create_error, "ERR_CLOSED", "the mapped region is closed");
  return Refuse(
      env, napi_create_error, "ERR_MEMORY_DISABLED",
      "the device does not decode memory now: it is in reset, or memory space is off in its command register");
}

// Returns false if an exception is pending.
bool ToOffset(napi_env env, napi_value value, const core::Mapping& mapping, std::size_t width, std::size_t* offset) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    Refuse(env, napi_create_type_error, "ERR_INVALID_ARG_TYPE", "The \"offset\" argument must be of type number");
    return false;
  }
  // The comparison is also false for NaN.
  if (!(number >= 0 && number <= static_cast<double>(mapping.length()) - static_cast<double>(width))) {
    Refuse(env, napi_create_range_error, "ERR_OUT_OF_RANGE", "The value of \"offset\" is outside the mapped region");
    return false;
  }
  *offset = static_cast<std::size_t>(number);
  if (static_cast<double>(*offset) != number || *offset % width != 0) {
    Refuse(env, napi_create_range_error, "ERR_OUT_OF_RANGE",
           "The value of \"offset\" must be a multiple of the access width");
    return false;
  }
  return true;
}

template <typename T>
napi_value ToValue(napi_env env, T value) {
  napi_value result = nullptr;
  if constexpr (sizeof(T) == 8) {
    napi_create_bigint_uint64(env, value, &result);
  } else {
    napi_create_uint32(env, value, &result);
  }
  return result;
}

template <std::same_as<uint64_t> T>
bool FromValue(napi_env env, napi_value value, T* out) {
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, value, out, &lossless) != napi_ok) {
    // A safe integer is accepted in place of a bigint.
    double number = 0;
    if (napi_get_value_double(env, value, &number) != napi_ok) {
      Refuse(env, napi_create_type_error, "ERR_INVALID_ARG_TYPE",
             "The \"value\" argument must be of type bigint or number");
      return false;
    }
    lossless = number >= 0 && number <= 9007199254740991.0 && number == std::floor(number);
    if (lossless) *out = static_cast<uint64_t>(number);
  }
  if (!lossless)
    Refuse(env, napi_create_range_error, "ERR_OUT_OF_RANGE", "The value of \"value\" does not fit the register");
  return lossless;
}

template <typename T>
bool FromValue(napi_env env, napi_value value, T* out) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    Refuse(env, napi_create_type_error, "ERR_INVALID_ARG_TYPE", "The \"value\" argument must be of type number");
    return false;
  }
  if (!(number >= 0 && number <= static_cast<double>(static_cast<T>(~T{0}))) || number != std::floor(number)) {
    Refuse(env, napi_create_range_error, "ERR_OUT_OF_RANGE", "The value of \"value\" does not fit the register");
    return false;
  }
  *out = static_cast<T>(number);
  return true;
}

template <typename T>
napi_value Read(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  const core::Mapping& mapping = **static_cast<Registers*>(data);
  std::size_t offset = 0;
  if (!ToOffset(env, argument, mapping, sizeof(T), &offset)) return nullptr;
  T value = 0;
  if (mapping.retired() || !mapping.enabled()) return RefuseAccess(env, mapping);
  mapping.BeforeAccess();
  if (!mapping.Load(offset, &value)) return RefuseAccess(env, mapping);
  return ToValue(env, value);
}

template <typename T>
napi_value Write(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2] = {nullptr, nullptr};
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  const core::Mapping& mapping = **static_cast<Registers*>(data);
  std::size_t offset = 0;
  T value = 0;
  if (!ToOffset(env, arguments[0], mapping, sizeof(T), &offset) || !FromValue(env, arguments[1], &value)) {
    return nullptr;
  }
  if (mapping.retired() || !mapping.enabled()) return RefuseAccess(env, mapping);
  if (!mapping.writable()) return Refuse(env, napi_create_error, "ERR_READ_ONLY", "the region is read-only");
  mapping.BeforeAccess();
  return mapping.Store(offset, value) ? nullptr : RefuseAccess(env, mapping);
}

// Returns false after the first access that raised a bus error.
template <typename T>
bool Copy(const core::Mapping& mapping, std::size_t offset, void* data, std::size_t bytes, bool to_device) {
  auto* elements = static_cast<T*>(data);
  for (std::size_t i = 0; i < bytes / sizeof(T); ++i, offset += sizeof(T)) {
    // A failed load leaves the element as it was.
    if (T value = 0; to_device ? !mapping.Store(offset, elements[i]) : !mapping.Load(offset, &value)) {
      return false;
    } else if (!to_device) {
      elements[i] = value;
    }
  }
  return true;
}

// Accesses many registers in one call: one access of the element's width for each array element, in ascending order.
template <bool to_device>
napi_value Block(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value arguments[2] = {nullptr, nullptr};
  void* registers = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &registers);
  const core::Mapping& mapping = **static_cast<Registers*>(registers);
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, arguments[1], &type, &length, &data, nullptr, nullptr) != napi_ok) {
    return Refuse(env, napi_create_type_error, "ERR_INVALID_ARG_TYPE", "The \"array\" argument must be a typed array");
  }
  std::size_t width = 0;
  decltype(&Copy<uint8_t>) copy = nullptr;
  switch (type) {
    case napi_uint8_array:
      width = 1, copy = Copy<uint8_t>;
      break;
    case napi_uint16_array:
      width = 2, copy = Copy<uint16_t>;
      break;
    case napi_uint32_array:
      width = 4, copy = Copy<uint32_t>;
      break;
    case napi_biguint64_array:
      width = 8, copy = Copy<uint64_t>;
      break;
    default:
      return Refuse(env, napi_create_type_error, "ERR_INVALID_ARG_TYPE",
                    "The \"array\" argument must be a Uint8Array, Uint16Array, Uint32Array or BigUint64Array");
  }
  std::size_t offset = 0;
  if (length == 0) return nullptr;
  if (!ToOffset(env, arguments[0], mapping, width, &offset)) return nullptr;
  if (length > (mapping.length() - offset) / width) {
    return Refuse(env, napi_create_range_error, "ERR_OUT_OF_RANGE", "The \"array\" reaches outside the mapped region");
  }
  if (mapping.retired() || !mapping.enabled()) return RefuseAccess(env, mapping);
  if (to_device && !mapping.writable())
    return Refuse(env, napi_create_error, "ERR_READ_ONLY", "the region is read-only");
  mapping.BeforeAccess();
  return copy(mapping, offset, data, length * width, to_device) ? nullptr : RefuseAccess(env, mapping);
}

// registerAccess(mapping): { read8(offset) …, write64(offset, value), read(offset, array), write(…) }
Napi::Value RegisterAccess(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Registers registers = Unwrap<core::Mapping>(info[0]);
  KeepBusErrors(env);
  return Record(env)
      .Define("read8", HotFunction<Read<uint8_t>>(env, "read8", registers))
      .Define("read16", HotFunction<Read<uint16_t>>(env, "read16", registers))
      .Define("read32", HotFunction<Read<uint32_t>>(env, "read32", registers))
      .Define("read64", HotFunction<Read<uint64_t>>(env, "read64", registers))
      .Define("write8", HotFunction<Write<uint8_t>>(env, "write8", registers))
      .Define("write16", HotFunction<Write<uint16_t>>(env, "write16", registers))
      .Define("write32", HotFunction<Write<uint32_t>>(env, "write32", registers))
      .Define("write64", HotFunction<Write<uint64_t>>(env, "write64", registers))
      .Define("read", HotFunction<Block<false>>(env, "read", registers))
      .Define("write", HotFunction<Block<true>>(env, "write", registers));
}

// mappingRetire(mapping): releases the file; views read zeros from then on.
void MappingRetire(const Napi::CallbackInfo& info) {
  auto& mapping = Unbox<core::Mapping>(info[0]);
  if (mapping) mapping->Retire();
  mapping.reset();
}

}  // namespace

void InitMappedRegion(Napi::Env env, Napi::Object exports) {
  // Runs when the addon loads, not with the first mapping, so that a mapping adds no unexpected open fds.
  HoldBusErrors();
  Export<RegisterAccess>(env, exports, "registerAccess");
  Export<MappingRetire>(env, exports, "mappingRetire");
}

}  // namespace binding
