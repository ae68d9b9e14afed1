// Mock devices: the rules are those of drivers/iommu/iommufd/selftest.c.
#include <algorithm>
#include <set>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_test_access.h"
#include "fake/iommufd/iommufd_viommu.h"
#include "fake/iommufd/mock_device.h"
#include "fake/iommufd/mock_iommu.h"
#include "kernel/page_size.h"

namespace fake {
namespace {

using Command = uapi::iommu_test_cmd;

constexpr uint64_t kMockPage = 2048;
constexpr uint32_t kSmallestLimit = 12;  // of the memory that iommufd uses for one batch of pages

int AddReserved(Iommufd& iommufd, const Command& command) {
  const auto& [start, length] = command.add_reserved;
  if (length == 0) return -EINVAL;
  const uint64_t last = start + (length - 1);
  if (last < start) return -EOVERFLOW;
  const auto ioas = iommufd.Find<Ioas>(command.id);
  return ioas ? ioas->space.Reserve(nullptr, {{start, last}}) : -ENOENT;
}

int MakeDevice(Iommufd& iommufd, Command& command) {
  auto& arguments = command.mock_domain_flags;
  const uint32_t flags = command.op == uapi::IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS ? arguments.dev_flags : 0;
  if ((flags & ~(uapi::MOCK_FLAGS_DEVICE_NO_DIRTY | uapi::MOCK_FLAGS_DEVICE_PASID)) != 0) return -EINVAL;
  const auto device = std::make_shared<IommufdDevice>(std::make_shared<MockIommu>(flags));
  const auto mock = std::make_shared<MockDevice>(device);
  iommufd.Add(mock);
  iommufd.Add(device);
  const int hwpt = device->Attach(iommufd, command.id, 0);
  if (hwpt < 0) {
    iommufd.Remove(mock->id);
    return hwpt;
  }
  arguments.out_stdev_id = mock->id;
  arguments.out_hwpt_id = static_cast<uint32_t>(hwpt);
  arguments.out_idev_id = device->id;
  return 0;
}

// iommufd_test_md_check_pa(): whether the mock IOMMU translates to the caller's pages.
int CheckMap(Iommufd& iommufd, const Command& command) {
  const auto hwpt = iommufd.Find<PagingHwpt>(command.id);
  if (!hwpt) return -ENOENT;
  if (hwpt->driver() != "mock") return -EINVAL;
  const auto& [iova, length, address] = command.check_map;
  const uint64_t page = kMockPage;
  uint64_t end = 0;
  if ((iova | length | address) % page != 0 || __builtin_add_overflow(address, length, &end)) return -EINVAL;
  for (uint64_t done = 0; done < length; done += page) {
    if (!IsThere<uint8_t>(UserPointer(address + done))) return -EFAULT;
    std::vector<IoAddressSpace::Piece> pieces;
    if (hwpt->ioas().space.Find(iova + done, 1, &pieces) != 0) return -EINVAL;
    const auto offset = pieces[0].pages->OffsetOf(PlaceOf(address + done));
    if (offset != static_cast<int64_t>(pieces[0].offset)) return -EINVAL;
  }
  return 0;
}

// iommufd_test_md_check_refs(): how often the caller's pages are pinned through this iommufd.
int CheckPins(Iommufd& iommufd, const Command& command) {
  const auto& [length, address, wanted] = command.check_refs;
  const uint64_t page = kernel::PageSize();
  uint64_t end = 0;
  if ((length | address) % page != 0 || __builtin_add_overflow(address, length, &end)) return -EINVAL;
  for (uint64_t at = address; at < end; at += page) {
    if (!IsThere<uint8_t>(UserPointer(at))) return -EFAULT;
    const Place place = PlaceOf(at);
    std::set<const Pages*> pinned;
    for (const auto& [_, object] : iommufd.objects()) {
      if (const auto ioas = std::dynamic_pointer_cast<Ioas>(object)) ioas->space.AddPinned(place, &pinned);
    }
    if (pinned.size() != wanted) return -EIO;
  }
  return 0;
}

// EBUSY: attaching an attached device. EINVAL: replacing without an attachment.
int AttachMock(Iommufd& iommufd, const Command& command, uint32_t pasid, uint32_t* page_table, bool replaces) {
  const auto mock = iommufd.Find<MockDevice>(command.id);
  if (!mock) return -ENOENT;
  if (!iommufd.Find<IommufdObject>(*page_table)) return -ENOENT;
  if (mock->device().IsAttached(pasid) != replaces) return replaces ? -EINVAL : -EBUSY;
  const int hwpt = mock->device().Attach(iommufd, *page_table, pasid);
  if (hwpt < 0) return hwpt;
  *page_table = static_cast<uint32_t>(hwpt);
  return 0;
}

int DetachMock(Iommufd& iommufd, const Command& command) {
  const auto mock = iommufd.Find<MockDevice>(command.id);
  if (!mock) return -ENOENT;
  mock->device().Detach(iommufd, command.pasid_attach.pasid);
  return 0;
}

int CheckPasid(Iommufd& iommufd, const Command& command) {
  const auto mock = iommufd.Find<MockDevice>(command.id);
  if (!mock) return -ENOENT;
  const auto& [pasid, hwpt_id] = command.pasid_check;
  const auto attached = mock->device().AttachedTo(pasid);
  return (attached ? attached->id : 0) == hwpt_id ? 0 : -EINVAL;
}

int MarkDirty(Iommufd& iommufd, Command& command) {
  auto& arguments = command.dirty;
  const uint64_t page = arguments.page_size;
  if (page == 0 || arguments.length == 0 || arguments.iova % page != 0 || arguments.length % page != 0 ||
      arguments.uptr == 0) {
    return -EINVAL;
  }
  const auto hwpt = iommufd.Find<PagingHwpt>(command.id);
  if (!hwpt) return -ENOENT;
  if (hwpt->driver() != "mock" || !hwpt->dirty_tracking) return -EINVAL;
  arguments.out_nr_dirty = 0;
  uint8_t byte = 0;
  for (uint64_t bit = 0; bit < arguments.length / page; ++bit) {
    if (bit % 8 == 0 && !CopyFromUser(&byte, UserPointer(arguments.uptr + bit / 8), 1)) return -EFAULT;
    if ((byte >> bit % 8 & 1) == 0) continue;
    hwpt->ioas().space.MarkDirty(hwpt.get(), arguments.iova + bit * page);
    ++arguments.out_nr_dirty;
  }
  return 0;
}

template <typename Cache>
int CheckCache(const Cache& cache, uint32_t index, uint32_t value) {
  return index < cache.size() && cache.at(index) == value ? 0 : -EINVAL;
}

int TriggerFault(Iommufd& iommufd, const Command& command) {
  const auto& arguments = command.trigger_iopf;
  const auto device = iommufd.Find<IommufdDevice>(arguments.dev_id);
  if (!device) return -ENOENT;
  if (!MockDevice::Of(iommufd, device->id)) return -EINVAL;
  device->Report({.flags = uapi::IOMMU_PGFAULT_FLAGS_LAST_PAGE |
                           (arguments.pasid == 0 ? 0 : uapi::IOMMU_PGFAULT_FLAGS_PASID_VALID),
                  .dev_id = device->id,
                  .pasid = arguments.pasid,
                  .grpid = arguments.grpid,
                  .perm = arguments.perm,
                  .addr = arguments.addr});
  return 0;
}

int TriggerEvent(Iommufd& iommufd, const Command& command) {
  const auto device = iommufd.Find<IommufdDevice>(command.trigger_vevent.dev_id);
  if (!device || !device->viommu() || device->virtual_id() == 0) return -ENOENT;
  const uapi::iommu_viommu_event_selftest event = {.virt_id = static_cast<uint32_t>(device->virtual_id())};
  return device->viommu()->Tell(uapi::IOMMU_VEVENTQ_TYPE_SELFTEST, &event, sizeof(event));
}

}  // namespace

int Test(Iommufd& iommufd, Command& command) {
  switch (command.op) {
    case uapi::IOMMU_TEST_OP_ADD_RESERVED:
      return AddReserved(iommufd, command);
    case uapi::IOMMU_TEST_OP_MOCK_DOMAIN:
    case uapi::IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS:
      return MakeDevice(iommufd, command);
    case uapi::IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE:
      return AttachMock(iommufd, command, 0, &command.mock_domain_replace.pt_id, true);
    case uapi::IOMMU_TEST_OP_MD_CHECK_MAP:
      return CheckMap(iommufd, command);
    case uapi::IOMMU_TEST_OP_MD_CHECK_REFS:
      return CheckPins(iommufd, command);
    case uapi::IOMMU_TEST_OP_CREATE_ACCESS:
      return CreateAccess(iommufd, command);
    case uapi::IOMMU_TEST_OP_ACCESS_REPLACE_IOAS:
      return ReplaceIoas(iommufd, command);
    case uapi::IOMMU_TEST_OP_ACCESS_PAGES:
      return PinPages(iommufd, command);
    case uapi::IOMMU_TEST_OP_DESTROY_ACCESS_PAGES:
      return UnpinPages(iommufd, command);
    case uapi::IOMMU_TEST_OP_ACCESS_RW:
      return ReadWrite(iommufd, command);
    // The fake has no batches.
    case uapi::IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT:
      return command.memory_limit.limit < kSmallestLimit ? -EINVAL : 0;
    case uapi::IOMMU_TEST_OP_DIRTY:
      return MarkDirty(iommufd, command);
    case uapi::IOMMU_TEST_OP_MD_CHECK_IOTLB: {
      const auto hwpt = iommufd.Find<NestedHwpt>(command.id);
      return hwpt ? CheckCache(hwpt->tlb, command.check_iotlb.id, command.check_iotlb.iotlb) : -ENOENT;
    }
    case uapi::IOMMU_TEST_OP_TRIGGER_IOPF:
      return TriggerFault(iommufd, command);
    case uapi::IOMMU_TEST_OP_TRIGGER_VEVENT:
      return TriggerEvent(iommufd, command);
    case uapi::IOMMU_TEST_OP_DEV_CHECK_CACHE: {
      const auto mock = MockDevice::Of(iommufd, command.id);
      return mock ? CheckCache(mock->cache, command.check_dev_cache.id, command.check_dev_cache.cache) : -ENOENT;
    }
    case uapi::IOMMU_TEST_OP_PASID_ATTACH:
      return AttachMock(iommufd, command, command.pasid_attach.pasid, &command.pasid_attach.pt_id, false);
    case uapi::IOMMU_TEST_OP_PASID_REPLACE:
      return AttachMock(iommufd, command, command.pasid_attach.pasid, &command.pasid_attach.pt_id, true);
    case uapi::IOMMU_TEST_OP_PASID_DETACH:
      return DetachMock(iommufd, command);
    case uapi::IOMMU_TEST_OP_PASID_CHECK_HWPT:
      return CheckPasid(iommufd, command);
    default:
      return -EOPNOTSUPP;
  }
}

}  // namespace fake
