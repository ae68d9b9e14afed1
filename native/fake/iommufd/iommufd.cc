// The table of objects, and the table of commands with their sizes.
#include "fake/iommufd/iommufd.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_device.h"

namespace fake {
namespace {

template <typename Command>
using Handler = int (*)(Iommufd&, Command&);

// check_zeroed_user()
int CheckZeros(const uint8_t* bytes, std::size_t size) {
  constexpr std::size_t kChunk = 4096;
  for (; size > 0; bytes += std::min(size, kChunk), size -= std::min(size, kChunk)) {
    const auto chunk = CopyArrayFromUser<uint8_t>(bytes, std::min(size, kChunk));
    if (!chunk) return -EFAULT;
    if (!std::ranges::all_of(*chunk, [](uint8_t byte) { return byte == 0; })) return -E2BIG;
  }
  return 0;
}

// Every command starts with its size. The excess of a longer command must be zero. A shorter one must have `smallest`
// bytes; the rest counts as zero.
template <auto handler, typename Command>
int Run(Iommufd& iommufd, void* argument, std::size_t smallest) {
  uint32_t size = 0;
  if (!CopyFromUser(&size, argument, sizeof(size))) return -EFAULT;
  if (size < smallest) return -EINVAL;
  Command command = {};
  const std::size_t known = std::min<std::size_t>(size, sizeof(Command));
  const int trailing = CheckZeros(static_cast<const uint8_t*>(argument) + known, size - known);
  if (trailing != 0) return trailing;
  if (!CopyFromUser(&command, argument, known)) return -EFAULT;
  const int result = handler(iommufd, command);
  // A failed command leaves the struct as it is, except where it tells the caller how to go on.
  constexpr bool kTellsAlways = std::is_same_v<Command, uapi::iommu_hwpt_invalidate>;
  if (result < 0 && result != -EMSGSIZE && !kTellsAlways) return result;
  return CopyToUser(argument, &command, known) ? result : -EFAULT;
}

struct Entry {
  uapi::request_t request;
  int (*run)(Iommufd& iommufd, void* argument, std::size_t smallest);
  std::size_t smallest;
};

template <auto handler, typename Command>
constexpr Entry MakeEntry(uapi::request_t request, Handler<Command>, std::size_t smallest = sizeof(Command)) {
  return {request, Run<handler, Command>, smallest};
}

#define COMMAND(request, handler, ...) MakeEntry<handler>(uapi::request, handler __VA_OPT__(, ) __VA_ARGS__)
constexpr Entry kCommands[] = {
    COMMAND(IOMMU_DESTROY, Destroy),
    COMMAND(IOMMU_IOAS_ALLOC, IoasAllocate),
    COMMAND(IOMMU_IOAS_IOVA_RANGES, IoasIovaRanges),
    COMMAND(IOMMU_IOAS_MAP, IoasMap),
    COMMAND(IOMMU_IOAS_MAP_FILE, IoasMapFile),
    COMMAND(IOMMU_IOAS_COPY, IoasCopy),
    COMMAND(IOMMU_IOAS_UNMAP, IoasUnmap),
    COMMAND(IOMMU_IOAS_ALLOW_IOVAS, IoasAllowIovas),
    COMMAND(IOMMU_IOAS_CHANGE_PROCESS, IoasChangeProcess),
    COMMAND(IOMMU_IOAS_NOIOMMU_GET_PA, IoasNoIommuGetPhysical),
    COMMAND(IOMMU_OPTION, Option),
    COMMAND(IOMMU_VFIO_IOAS, VfioIoas),
    COMMAND(IOMMU_HWPT_ALLOC, HwptAllocate, offsetof(uapi::iommu_hwpt_alloc, data_type)),
    COMMAND(IOMMU_HWPT_SET_DIRTY_TRACKING, HwptSetDirtyTracking),
    COMMAND(IOMMU_HWPT_GET_DIRTY_BITMAP, HwptGetDirtyBitmap),
    COMMAND(IOMMU_HWPT_INVALIDATE, HwptInvalidate),
    COMMAND(IOMMU_FAULT_QUEUE_ALLOC, FaultQueueAllocate),
    COMMAND(IOMMU_VIOMMU_ALLOC, ViommuAllocate, offsetof(uapi::iommu_viommu_alloc, data_len)),
    COMMAND(IOMMU_VDEVICE_ALLOC, VdeviceAllocate),
    COMMAND(IOMMU_HW_QUEUE_ALLOC, HwQueueAllocate),
    COMMAND(IOMMU_VEVENTQ_ALLOC, VeventQueueAllocate, offsetof(uapi::iommu_veventq_alloc, __reserved)),
    COMMAND(IOMMU_GET_HW_INFO, GetHwInfo, offsetof(uapi::iommu_hw_info, out_capabilities)),
    COMMAND(IOMMU_TEST_CMD, Test, offsetof(uapi::iommu_test_cmd, last) + sizeof(uint32_t)),
};
#undef COMMAND

}  // namespace

// Objects that no other object uses are destroyed first.
Iommufd::~Iommufd() {
  while (!objects_.empty()) {
    // Numbers without an object: a device that goes buries those of its vDEVICEs.
    std::erase_if(objects_, [](const auto& entry) { return !entry.second; });
    const auto unheld = std::ranges::find_if(objects_, [](const auto& entry) { return entry.second->users == 0; });
    if (unheld == objects_.end()) return;
    Remove(unheld->first);
  }
}

int Iommufd::Ioctl(uapi::request_t request, void* argument) {
  constexpr unsigned kFirst = uapi::IOMMU_DESTROY & 0xff;
  constexpr unsigned kCount = 0x21;  // the last is IOMMU_TEST_CMD
  const unsigned number = request & 0xff;
  if (number < kFirst || number >= kFirst + kCount) return VfioCompat(*this, request, argument);
  if (!IsThere<uint32_t>(argument)) return -EFAULT;
  const auto entry = std::ranges::find(kCommands, request, &Entry::request);
  return entry == std::end(kCommands) ? -ENOTTY : entry->run(*this, argument, entry->smallest);
}

uint32_t Iommufd::Add(std::shared_ptr<IommufdObject> object) {
  uint32_t id = 1;
  for (const auto& [taken, _] : objects_) {
    if (taken != id) break;
    ++id;
  }
  object->id = id;
  objects_.emplace(id, std::move(object));
  return id;
}

void Iommufd::Remove(uint32_t id) {
  const auto node = objects_.extract(id);
  if (vfio_ioas == id) vfio_ioas = 0;
  node.mapped()->Leave(*this);
}

void Iommufd::Bury(uint32_t id) {
  Remove(id);
  objects_.emplace(id, nullptr);
}

int Destroy(Iommufd& iommufd, uapi::iommu_destroy& command) {
  const auto object = iommufd.Find<IommufdObject>(command.id);
  if (!object) return -ENOENT;
  if (object->users > 0) return -EBUSY;
  iommufd.Remove(command.id);
  return 0;
}

uint32_t Iommufd::AddDevice(std::optional<uint32_t> group) {
  return Add(std::make_shared<IommufdDevice>(iommu_, group));
}

void Iommufd::RemoveDevice(uint32_t device) { Remove(device); }

int Iommufd::Attach(uint32_t device, uint32_t page_table, uint32_t pasid) {
  return Find<IommufdDevice>(device)->Attach(*this, page_table, pasid);
}

void Iommufd::Detach(uint32_t device, uint32_t pasid) { Find<IommufdDevice>(device)->Detach(*this, pasid); }

const IoAddressSpace* Iommufd::AddressSpaceOf(uint32_t device) const {
  return Find<IommufdDevice>(device)->address_space();
}

}  // namespace fake
