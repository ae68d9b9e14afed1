// Functions of an iommufd and its IOASes.
#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "binding/iommufd_object.h"

namespace binding {
namespace {

core::Ioas::Placement ToPlacement(const Napi::Value& iova, const Napi::Value& access) {
  return {.iova = ToOptionalU64(iova), .access = ToU32(access)};
}

// ioasAllocate(iommufd): Ioas
Napi::Value IoasAllocate(const Napi::CallbackInfo& info) {
  const auto iommufd = Unwrap<core::Fd>(info[0]);
  return Wrap(info.Env(), Call(info.Env(), [&] { return core::Ioas::Allocate(iommufd); }));
}

// ioasMapFile(ioas, fd, start, length, iova | undefined, access, async): bigint
Napi::Value IoasMapFile(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[6],
      [ioas = Unwrap<core::Ioas>(info[0]), fd = Unwrap<core::Fd>(info[1]), start = ToU64(info[2]),
       length = ToU64(info[3]),
       placement = ToPlacement(info[4], info[5])] { return ioas->MapFile(fd->number(), start, length, placement); },
      FromU64);
}

// ioasCopy(ioas, source, sourceIova, length, iova | undefined, access, async): bigint
Napi::Value IoasCopy(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[6],
      [ioas = Unwrap<core::Ioas>(info[0]), source = Unwrap<core::Ioas>(info[1]), source_iova = ToU64(info[2]),
       length = ToU64(info[3]),
       placement = ToPlacement(info[4], info[5])] { return ioas->Copy(*source, source_iova, length, placement); },
      FromU64);
}

// The hot calls take their arguments from words of memory that JavaScript writes and this file reads: turning a bigint
// into a u64 and back through the Node-API costs more than all else that a call does.
enum Word : std::size_t { kFd, kStart, kLength, kIova, kAccess, kFixed, kWords };

struct HotIoas {
  Box<core::Ioas>* ioas;  // empty: closed
  uint64_t* words;
};

template <auto call>
napi_value HotCall(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  const auto& [ioas, words] = *static_cast<HotIoas*>(data);
  Raising(env, [&ioas = *ioas, words = words, env] {
    if (ioas) {
      call(*ioas, words);
    } else {
      napi_throw_error(env, "ERR_CLOSED", "the IOAS is closed");
    }
  });
  return nullptr;
}

// Leaves the IOVA in its word.
void MapFd(const core::Ioas& ioas, uint64_t* words) {
  core::Ioas::Placement placement = {.access = static_cast<uint32_t>(words[kAccess])};
  if (words[kFixed] != 0) placement.iova = words[kIova];
  words[kIova] = ioas.MapFile(static_cast<int>(words[kFd]), words[kStart], words[kLength], placement);
}

void Unmap(const core::Ioas& ioas, uint64_t* words) { ioas.Unmap(words[kIova], words[kLength]); }

// ioasHot(ioas): { words: BigUint64Array, mapFd(), unmap() }, functions of this IOAS
Napi::Value IoasHot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto words = Napi::BigUint64Array::New(env, kWords);
  auto result = Napi::Object::New(env);
  result.Set("words", words);
  const auto add = [&](const char* name, napi_callback callback) {
    auto function = HotFunction(env, name, callback, HotIoas{&Unbox<core::Ioas>(info[0]), words.Data()});
    // Kept alive as long as the function.
    function.Set("ioas", info[0]);
    function.Set("words", words);
    result.Set(name, function);
  };
  add("mapFd", HotCall<MapFd>);
  add("unmap", HotCall<Unmap>);
  return result;
}

// ioasUnmap(ioas, iova, length, async): bigint
Napi::Value IoasUnmap(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[3],
      [ioas = Unwrap<core::Ioas>(info[0]), iova = ToU64(info[1]), length = ToU64(info[2])] {
        return ioas->Unmap(iova, length);
      },
      FromU64);
}

// ioasIovaRanges(ioas): { ranges: { start, last }[], alignment }
Napi::Value IoasIovaRanges(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto answer = Call(env, [&] { return Unwrap<core::Ioas>(info[0])->GetIovaRanges(); });
  auto ranges = Napi::Array::New(env, answer.ranges.size());
  uint32_t index = 0;
  for (const auto& [start, last] : answer.ranges) {
    auto range = Napi::Object::New(env);
    range.Set("start", FromU64(env, start));
    range.Set("last", FromU64(env, last));
    ranges.Set(index++, range);
  }
  auto result = Napi::Object::New(env);
  result.Set("ranges", ranges);
  result.Set("alignment", FromU64(env, answer.alignment));
  return result;
}

}  // namespace

void InitIommufd(Napi::Env env, Napi::Object exports) {
  Export<IoasAllocate>(env, exports, "ioasAllocate");
  Export<ObjectId<core::Ioas>>(env, exports, "ioasId");
  Export<ObjectDestroy<core::Ioas>>(env, exports, "ioasDestroy");
  Export<ObjectRelease<core::Ioas>>(env, exports, "ioasRelease");
  Export<ObjectDestroyLater<core::Ioas>>(env, exports, "ioasDestroyLater");
  Export<IoasMapFile>(env, exports, "ioasMapFile");
  Export<IoasCopy>(env, exports, "ioasCopy");
  Export<IoasHot>(env, exports, "ioasHot");
  Export<IoasUnmap>(env, exports, "ioasUnmap");
  Export<IoasIovaRanges>(env, exports, "ioasIovaRanges");
}

}  // namespace binding
