// Registries of the devices and of the exported dma-bufs of this process.
#include "core/device_state.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>
#include <utility>

#include "uapi/vfio.h"

namespace core {
namespace {

using FileKey = std::pair<uint64_t, uint64_t>;                                      // device and inode
using NumberKey = std::pair<const kernel::Kernel*, std::pair<unsigned, unsigned>>;  // major and minor
using AddressKey = std::pair<const kernel::Kernel*, std::string>;

// Weak references to objects by the identity of their file or device. An Export removes its entry when it is destroyed,
// unless the entry belongs to a newer object. FindOrMake() removes expired entries of devices.
template <typename T, typename Key = FileKey>
struct Registry {
  kernel::Mutex mutex;
  std::map<Key, std::weak_ptr<T>> entries GUARDED_BY(mutex);
};

// Never destroyed: threads may outlive static objects.
Registry<DeviceState, NumberKey>& Devices() {
  static auto* registry = new Registry<DeviceState, NumberKey>;
  return *registry;
}

Registry<DeviceState, AddressKey>& DevicesOfGroups() {
  static auto* registry = new Registry<DeviceState, AddressKey>;
  return *registry;
}

Registry<Export>& Exports() {
  static auto* registry = new Registry<Export>;
  return *registry;
}

std::shared_ptr<DeviceState> MakeState(const Fd& fd) {
  auto state = std::make_shared<DeviceState>();
  state->kernel = fd.kernel().get();
  return state;
}

template <typename Key>
std::shared_ptr<DeviceState> FindOrMake(Registry<DeviceState, Key>& registry, const Key& key, const Fd& fd) {
  const kernel::Lock lock(registry.mutex);
  auto& entries = registry.entries;
  std::erase_if(entries, [](const auto& entry) { return entry.second.expired(); });
  auto& known = entries[key];
  auto state = known.lock();
  if (!state) known = state = MakeState(fd);
  return state;
}

template <typename Key>
void AddKnown(Registry<DeviceState, Key>& registry, std::vector<std::shared_ptr<DeviceState>>& states) {
  const kernel::Lock lock(registry.mutex);
  auto& entries = registry.entries;
  for (const auto& [_, weak] : entries) {
    if (auto state = weak.lock()) states.push_back(std::move(state));
  }
}

}  // namespace

std::shared_ptr<DeviceState> DeviceState::Of(const Fd& fd, const std::string& address) {
  // The device's number identifies it, not a node's inode: a device can have several nodes.
  if (const auto number = fd.Device()) {
    return FindOrMake(Devices(), NumberKey(fd.kernel().get(), {number->major, number->minor}), fd);
  }
  return address.empty() ? MakeState(fd) : FindOrMake(DevicesOfGroups(), AddressKey(fd.kernel().get(), address), fd);
}

std::vector<std::shared_ptr<DeviceState>> DeviceState::At(const kernel::Kernel* kernel,
                                                          const std::vector<std::string>& addresses) {
  std::vector<std::shared_ptr<DeviceState>> states;
  AddKnown(Devices(), states);
  AddKnown(DevicesOfGroups(), states);
  std::erase_if(states, [&](const auto& state) {
    if (state->kernel != kernel) return true;
    const kernel::Lock lock(state->files_mutex);
    return std::ranges::find(addresses, state->address) == addresses.end();
  });
  return states;
}

DeviceFile::DeviceFile(std::shared_ptr<Fd> fd, const std::string& address)
    : fd_(std::move(fd)), state_(DeviceState::Of(*fd_, address)) {
  const kernel::Lock lock(state_->files_mutex);
  state_->files.insert(this);
  if (!address.empty()) state_->address = address;
}

// Whether the file has access to the device. A file that is not bound returns EINVAL. If a character device is open
// several times, only one of the files can be bound.
bool DeviceFile::Reaches() const {
  uint8_t byte = 0;
  constexpr uint64_t kConfig = uint64_t{uapi::VFIO_PCI_CONFIG_REGION_INDEX} << 40;
  int64_t read = -EINTR;
  // Other errors pass. If they do not, the dma-bufs count as revoked, which is safe to assume: remap() maps them again.
  for (int tries = 0; tries < 3 && read < 0 && read != -EINVAL; ++tries) {
    read = fd_->kernel()->Pread(fd_->number(), &byte, sizeof(byte), kConfig);
  }
  return read >= 0;
}

void DeviceFile::Leave() {
  const kernel::Lock lock(state_->files_mutex);
  if (state_->files.erase(this) == 0) return;
  if (std::ranges::any_of(state_->files, [](const DeviceFile* other) { return other->Reaches(); })) return;
  state_->memory_enabled = false;
  ++state_->closings;
  ++state_->revocations;
}

void DeviceState::WaitForFences() const {
  using std::chrono::milliseconds;
  const auto is_idle = [](const std::weak_ptr<const Fd>& buffer) {
    const auto fd = buffer.lock();
    return !fd || fd->kernel()->Poll(fd->number(), POLLOUT) != 0;
  };
  for (auto pause = milliseconds(1);; pause = std::min(2 * pause, milliseconds(16))) {
    std::vector<std::weak_ptr<const Fd>> buffers;
    {
      const kernel::Lock lock(exports_mutex);
      buffers = exports;
    }
    if (std::ranges::all_of(buffers, is_idle)) return;
    std::this_thread::sleep_for(pause);
  }
}

std::shared_ptr<Export> Export::Register(const std::shared_ptr<const Fd>& buffer, std::shared_ptr<DeviceState> device,
                                         uint32_t ranges) {
  const auto identity = buffer->Identify();
  {
    const kernel::Lock lock(device->exports_mutex);
    device->exports.push_back(buffer);
    if (device->exports.size() > device->most_exports) {
      std::erase_if(device->exports, [](const auto& weak) { return weak.expired(); });
      // Twice the rest: the cost of an export does not depend on the number of exports.
      device->most_exports = std::max<std::size_t>(16, 2 * device->exports.size());
    }
  }
  auto made = std::make_shared<Export>(identity, std::move(device), ranges);
  auto& registry = Exports();
  const kernel::Lock lock(registry.mutex);
  auto& entries = registry.entries;
  entries[{identity.device, identity.inode}] = made;
  return made;
}

std::shared_ptr<Export> Export::Find(const Fd& buffer) {
  const auto [device, inode] = buffer.Identify();
  auto& registry = Exports();
  const kernel::Lock lock(registry.mutex);
  auto& entries = registry.entries;
  const auto found = entries.find({device, inode});
  return found == entries.end() ? nullptr : found->second.lock();
}

Export::~Export() {
  auto& registry = Exports();
  const kernel::Lock lock(registry.mutex);
  auto& entries = registry.entries;
  const auto found = entries.find({identity_.device, identity_.inode});
  if (found != entries.end() && found->second.expired()) entries.erase(found);
}

}  // namespace core
