// Functions of an iommufd and its IOASes.
#include <array>
#include <memory>
#include <vector>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "binding/iommufd_object.h"
#include "kernel/mutex.h"

namespace binding {
namespace {

core::Ioas::Placement ToPlacement(const Napi::Value& iova, const Napi::Value& access) {
  return {.iova = ToOptionalU64(iova), .access = ToU32(access)};
}

// ioasAllocate(iommufd): Ioas
Napi::Value IoasAllocate(const Napi::CallbackInfo& info) {
  const auto iommufd = Unwrap<core::Fd>(info[0]);
  return Wrap(info.Env(), core::Ioas::Allocate(iommufd));
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

// The frequent calls take their arguments from words of memory that JavaScript writes. The conversion of bigints
// through the Node-API would cost more than the rest of the call.
enum Word : std::size_t { kFd, kStart, kLength, kIova, kAccess, kFixed, kWords };

using Words = std::array<uint64_t, kWords>;

// The data of each hot function. It owns both objects, because JavaScript can release the handle and transfer the
// words' ArrayBuffer.
struct HotIoas {
  Cell<core::Ioas> ioas;
  std::shared_ptr<Words> words;
};

// Keeps words until the process ends. When an environment ends, Node calls the finalizer also for an ArrayBuffer that
// was transferred to another thread.
void KeepForever(std::shared_ptr<Words> words) {
  struct Kept {
    kernel::Mutex mutex;
    std::vector<std::shared_ptr<Words>> words GUARDED_BY(mutex);
  };
  static auto& kept = *new Kept;
  const kernel::Lock guard(kept.mutex);
  kept.words.push_back(std::move(words));
}

Napi::BigUint64Array FromWords(Napi::Env env, const std::shared_ptr<Words>& words) {
  const auto finalize = [](Napi::Env finalized, void*, std::shared_ptr<Words>* share) {
    if (!CanRunJavaScript(finalized)) KeepForever(*share);
    delete share;
  };
  auto share = std::make_unique<std::shared_ptr<Words>>(words);
  auto buffer = Napi::ArrayBuffer::New(env, words->data(), sizeof(Words), finalize, share.get());
  static_cast<void>(share.release());
  return Napi::BigUint64Array::New(env, kWords, buffer, 0);
}

template <auto call>
napi_value HotCall(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  const auto& [ioas, words] = *static_cast<HotIoas*>(data);
  if (!*ioas) ThrowCoded(env, "ERR_CLOSED", "the IOAS is closed");
  call(**ioas, words->data());
  return nullptr;
}

// Writes the IOVA to its word.
void MapFd(const core::Ioas& ioas, uint64_t* words) {
  core::Ioas::Placement placement = {.access = static_cast<uint32_t>(words[kAccess])};
  if (words[kFixed] != 0) placement.iova = words[kIova];
  words[kIova] = ioas.MapFile(static_cast<int>(words[kFd]), words[kStart], words[kLength], placement);
}

void Unmap(const core::Ioas& ioas, uint64_t* words) { ioas.Unmap(words[kIova], words[kLength]); }

// ioasHot(ioas): { words: BigUint64Array, mapFd(), unmap() }. The functions work on this IOAS.
Napi::Value IoasHot(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const HotIoas data = {CellOf<core::Ioas>(info[0]), std::make_shared<Words>()};
  Record result(env);
  result.Define("words", FromWords(env, data.words));
  result.Define("mapFd", HotFunction<HotCall<MapFd>>(env, "mapFd", data));
  result.Define("unmap", HotFunction<HotCall<Unmap>>(env, "unmap", data));
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
  const auto answer = Unwrap<core::Ioas>(info[0])->GetIovaRanges();
  List ranges(env);
  for (const auto& [start, last] : answer.ranges) {
    Record range(env);
    range.Define("start", FromU64(env, start));
    range.Define("last", FromU64(env, last));
    ranges.Append(range);
  }
  Record result(env);
  result.Define("ranges", ranges);
  result.Define("alignment", FromU64(env, answer.alignment));
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
