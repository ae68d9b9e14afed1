// Attaching, replacing and detaching a device, with and without a PASID, and IOMMU_GET_HW_INFO.
#include "fake/iommufd/iommufd_device.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_viommu.h"

namespace fake {

const IoAddressSpace* IommufdDevice::address_space() const {
  const auto found = attached_.find(0);
  return found == attached_.end() ? nullptr : &found->second->paging().ioas().space;
}

std::shared_ptr<Hwpt> IommufdDevice::AttachedTo(uint32_t pasid) const {
  const auto found = attached_.find(pasid);
  return found == attached_.end() ? nullptr : found->second.get();
}

// iommufd_device_change_pt()
int IommufdDevice::Attach(Iommufd& iommufd, uint32_t page_table, uint32_t pasid) {
  const auto object = iommufd.Find<IommufdObject>(page_table);
  if (!object) return -ENOENT;
  if (const auto hwpt = std::dynamic_pointer_cast<Hwpt>(object)) return AttachTo(iommufd, hwpt, pasid);
  const auto ioas = std::dynamic_pointer_cast<Ioas>(object);
  return ioas ? AttachToIoas(iommufd, ioas, pasid) : -EINVAL;
}

// iommufd_device_auto_get_domain(): the first that fits of the page tables made for earlier attachments, or a new one.
int IommufdDevice::AttachToIoas(Iommufd& iommufd, const std::shared_ptr<Ioas>& ioas, uint32_t pasid) {
  std::vector<std::shared_ptr<PagingHwpt>> candidates;
  for (const auto& [_, object] : iommufd.objects()) {
    const auto hwpt = std::dynamic_pointer_cast<PagingHwpt>(object);
    if (hwpt && hwpt->automatic && &hwpt->ioas() == ioas.get()) candidates.push_back(hwpt);
  }
  for (const auto& hwpt : candidates) {
    const int attached = AttachTo(iommufd, hwpt, pasid);
    if (attached != -EINVAL) return attached;
  }
  std::shared_ptr<PagingHwpt> hwpt;
  if (const int made = MakePagingHwpt(*iommu_, ioas, 0, nullptr, &hwpt); made != 0) return made;
  iommufd.Add(hwpt);
  // An attached device is moved after the new table is complete.
  const bool moves = attached_.contains(pasid);
  int result = moves ? hwpt->Fill() : AttachTo(iommufd, hwpt, pasid);
  if (result >= 0) {
    result = moves ? AttachTo(iommufd, hwpt, pasid) : hwpt->Fill();
    if (result < 0 && !moves) Detach(iommufd, pasid);
  }
  if (result < 0) {
    iommufd.Remove(hwpt->id);
    return result;
  }
  hwpt->automatic = true;
  return static_cast<int>(hwpt->id);
}

// iommufd_hwpt_pasid_compat()
int IommufdDevice::CheckPasid(const Hwpt& hwpt, uint32_t pasid) const {
  if (pasid == 0) {
    const bool others = attached_.upper_bound(0) != attached_.end();
    return others && !hwpt.pasid_compatible ? -EINVAL : 0;
  }
  const auto main = attached_.find(0);
  const bool fits = main == attached_.end() || main->second->pasid_compatible;
  return hwpt.pasid_compatible && fits ? 0 : -EINVAL;
}

std::vector<IommufdDevice*> IommufdDevice::AttachedOfGroup(const Iommufd& iommufd, uint32_t pasid) {
  std::vector<IommufdDevice*> found;
  for (const auto& [_, object] : iommufd.objects()) {
    auto* const device = dynamic_cast<IommufdDevice*>(object.get());
    const bool ours = device == this || (device && group_ && device->group_ == group_);
    if (ours && device->IsAttached(pasid)) found.push_back(device);
  }
  return found;
}

// For all devices of the group, or for none.
int IommufdDevice::Reserve(const std::vector<IommufdDevice*>& devices, Ioas& ioas) {
  for (auto* const device : devices) {
    const int reserved = ioas.space.Reserve(device, device->iommu_->Reserved());
    if (reserved == 0) continue;
    for (auto* const other : devices) ioas.space.Unreserve(other);
    return reserved;
  }
  return 0;
}

// iommufd_device_do_attach() and _do_replace(): the group's first device attaches it, and the others must use the same
// page table. Replacing moves all attached devices.
int IommufdDevice::AttachTo(Iommufd& iommufd, const std::shared_ptr<Hwpt>& hwpt, uint32_t pasid) {
  const bool moves = IsAttached(pasid);
  const auto group = AttachedOfGroup(iommufd, pasid);
  const auto old = group.empty() ? nullptr : group.front()->AttachedTo(pasid);
  const auto id = static_cast<int>(hwpt->id);
  if (moves && old == hwpt) return id;
  if (!moves && old && old != hwpt) return -EINVAL;

  const auto devices = moves ? group : std::vector{this};
  auto& ioas = hwpt->paging().ioas();
  Ioas* const old_ioas = moves ? &old->paging().ioas() : nullptr;
  const bool reserves = pasid == 0 && &ioas != old_ioas;
  if (reserves) {
    if (const int reserved = Reserve(devices, ioas); reserved != 0) return reserved;
  }
  int bad = old == hwpt ? 0 : CheckPasid(*hwpt, pasid);
  if (bad == 0 && !hwpt->Fits(*iommu_)) bad = -EINVAL;
  if (bad == 0 && hwpt->faults && !iommu_->takes_page_requests()) bad = -ENODEV;
  if (bad == 0 && pasid == 0 && old != hwpt) bad = FindVirtualId(*hwpt);
  for (auto* const device : devices) {
    if (bad != 0 && pasid == 0) ioas.space.Unreserve(device);
    if (bad != 0) continue;
    if (reserves && old_ioas) old_ioas->space.Unreserve(device);
    Use<Hwpt> left(hwpt);
    std::swap(device->attached_[pasid], left);
    if (left && left->faults) left->faults->Drop(device->id, pasid);
    LetGo(iommufd, std::move(left));
  }
  return bad == 0 ? id : bad;
}

int IommufdDevice::FindVirtualId(const Hwpt& hwpt) {
  const auto* nested = dynamic_cast<const NestedHwpt*>(&hwpt);
  auto* const viommu = nested && nested->viommu ? dynamic_cast<Viommu*>(&*nested->viommu) : nullptr;
  const auto found = viommu ? viommu->FindId(*this) : 0;
  if (!found) return -ENOENT;
  if (viommu != viommu_) virtual_id_ = *found;
  viommu_ = viommu;
  return 0;
}

void IommufdDevice::Detach(Iommufd& iommufd, uint32_t pasid) {
  auto node = attached_.extract(pasid);
  if (node.empty()) return;
  auto& hwpt = *node.mapped();
  if (pasid == 0) {
    hwpt.paging().ioas().space.Unreserve(this);
    viommu_ = nullptr;
  }
  if (hwpt.faults) hwpt.faults->Drop(id, pasid);
  LetGo(iommufd, std::move(node.mapped()));
}

// A page table that an attachment made is destroyed with the last one.
void IommufdDevice::LetGo(Iommufd& iommufd, Use<Hwpt> hwpt) {
  if (!hwpt) return;
  const auto left = hwpt.get();
  {
    const Use<Hwpt> gone = std::move(hwpt);
  }
  const auto* paging = dynamic_cast<const PagingHwpt*>(left.get());
  if (paging && paging->automatic && paging->users == 0) iommufd.Remove(paging->id);
}

void IommufdDevice::Leave(Iommufd& iommufd) {
  while (!attached_.empty()) Detach(iommufd, attached_.begin()->first);
  if (vdevice != 0) iommufd.Bury(vdevice);
}

// find_fault_handler(): requests for a PASID that the guest manages go to the guest's page table.
void IommufdDevice::Report(const uapi::iommu_hwpt_pgfault& request) const {
  auto at = attached_.find(request.pasid);
  if (at == attached_.end()) {
    at = attached_.find(0);
    if (at == attached_.end() || !dynamic_cast<const NestedHwpt*>(&*at->second)) return;
  }
  const auto& [pasid, hwpt] = *at;
  if (hwpt->faults) hwpt->faults->Add({.device = id, .attached_pasid = pasid, .request = request});
}

int GetHwInfo(Iommufd& iommufd, uapi::iommu_hw_info& command) {
  const auto is_zero = [](uint8_t byte) { return byte == 0; };
  if ((command.flags & ~uapi::IOMMU_HW_INFO_FLAG_INPUT_TYPE) != 0 ||
      !std::ranges::all_of(command.__reserved, is_zero)) {
    return -EOPNOTSUPP;
  }
  const bool asks = (command.flags & uapi::IOMMU_HW_INFO_FLAG_INPUT_TYPE) != 0;
  uint32_t type = asks ? command.in_data_type : uapi::IOMMU_HW_INFO_TYPE_DEFAULT;
  const auto device = iommufd.Find<IommufdDevice>(command.dev_id);
  if (!device) return -ENOENT;
  std::vector<uint8_t> data;
  if (const int described = device->iommu().Describe(&type, &data); described != 0) return described;
  const auto length = static_cast<uint32_t>(data.size());
  // Cut, or filled with zeros: page by page, as data_len is the caller's.
  const std::vector<uint8_t> zeros(4096);
  for (uint64_t at = length; at < command.data_len; at += zeros.size()) {
    const auto size = std::min<uint64_t>(zeros.size(), command.data_len - at);
    if (!CopyToUser(WritableUserPointer(command.data_uptr + at), zeros.data(), size)) return -EFAULT;
  }
  if (command.data_len < length) data.resize(command.data_len);
  if (!CopyToUser(WritableUserPointer(command.data_uptr), data.data(), data.size())) return -EFAULT;
  command.data_len = length;
  command.out_data_type = type;
  command.out_capabilities = device->iommu().capabilities();
  command.out_max_pasid_log2 = device->iommu().max_pasid_log2();
  return 0;
}

}  // namespace fake
