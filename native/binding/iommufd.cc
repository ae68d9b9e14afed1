// Functions of an iommufd, its IOASes, and their options.
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "binding/addon.h"
#include "binding/iommufd_object.h"
#include "kernel/mutex.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const uapi::iommu_iova_range& range) {
  return Record(env).Define("start", range.start).Define("last", range.last);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::IovaRanges& answer) {
  return Record(env).Define("ranges", answer.ranges).Define("alignment", answer.alignment);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::Ioas::PhysicalRange& range) {
  return Record(env).Define("address", range.address).Define("length", range.length);
}

namespace {

// ioasMapFile(ioas, fd, start, length, iova | undefined, access, async): bigint
uint64_t IoasMapFile(const core::Ioas& ioas, const core::Fd& fd, uint64_t start, uint64_t length,
                     std::optional<uint64_t> iova, uint32_t access) {
  return ioas.MapFile(fd.number(), start, length, {.iova = iova, .access = access});
}

// ioasCopy(ioas, source, sourceIova, length, iova | undefined, access, async): bigint
uint64_t IoasCopy(const core::Ioas& ioas, const core::Ioas& source, uint64_t source_iova, uint64_t length,
                  std::optional<uint64_t> iova, uint32_t access) {
  return ioas.Copy(source, source_iova, length, {.iova = iova, .access = access});
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
  if (!*ioas) ThrowClosed<core::Ioas>(env);
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
  return Record(env)
      .Define("words", FromWords(env, data.words))
      .Define("mapFd", HotFunction<HotCall<MapFd>>(env, "mapFd", data))
      .Define("unmap", HotFunction<HotCall<Unmap>>(env, "unmap", data));
}

// iommufdRlimitMode(iommufd): number
double IommufdRlimitMode(const core::Fd& iommufd) { return static_cast<double>(core::RlimitMode(iommufd)); }

// iommufdSetRlimitMode(iommufd, mode: number)
void IommufdSetRlimitMode(const core::Fd& iommufd, uint32_t mode) { core::SetRlimitMode(iommufd, mode); }

// iommufdSetVfioIoas(iommufd, ioas)
void IommufdSetVfioIoas(const core::Fd& iommufd, const core::Ioas& ioas) { core::SetVfioIoas(iommufd, ioas.id()); }

}  // namespace

void InitIommufd(Napi::Env env, Napi::Object exports) {
  Export<core::Ioas::Allocate>(env, exports, "ioasAllocate");
  Export<ObjectId<core::Ioas>>(env, exports, "ioasId");
  Export<ObjectDestroy<core::Ioas>>(env, exports, "ioasDestroy");
  Export<ObjectRelease<core::Ioas>>(env, exports, "ioasRelease");
  Export<ObjectDestroyLater<core::Ioas>>(env, exports, "ioasDestroyLater");
  ExportAsync<IoasMapFile>(env, exports, "ioasMapFile");
  ExportAsync<IoasCopy>(env, exports, "ioasCopy");
  Export<IoasHot>(env, exports, "ioasHot");
  ExportAsync<&core::Ioas::Unmap>(env, exports, "ioasUnmap");
  Export<&core::Ioas::GetIovaRanges>(env, exports, "ioasIovaRanges");
  Export<core::Ioas::Adopt>(env, exports, "ioasAdopt");
  Export<&core::Ioas::AllowIovas>(env, exports, "ioasAllowIovas");
  Export<&core::Ioas::HugePages>(env, exports, "ioasHugePages");
  Export<&core::Ioas::SetHugePages>(env, exports, "ioasSetHugePages");
  Export<&core::Ioas::NoIommuGetPhysical>(env, exports, "ioasPhysical");
  Export<IommufdRlimitMode>(env, exports, "iommufdRlimitMode");
  Export<IommufdSetRlimitMode>(env, exports, "iommufdSetRlimitMode");
  Export<core::ChangeProcess>(env, exports, "iommufdChangeProcess");
  Export<core::VfioIoas>(env, exports, "iommufdVfioIoas");
  Export<IommufdSetVfioIoas>(env, exports, "iommufdSetVfioIoas");
  Export<core::ClearVfioIoas>(env, exports, "iommufdClearVfioIoas");
}

}  // namespace binding
