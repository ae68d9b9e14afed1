// The table of open files. Each call goes to the fake's file or, for any other fd, to the system call.
#include "fake/fake_kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "fake/dma_buf/host_dma_buf.h"
#include "fake/dma_buf/sync_file.h"
#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd.h"
#include "fake/mdev/mdev.h"

namespace fake {
namespace {

constexpr std::size_t kMostFaults = 1024;  // further faults are dropped
constexpr std::string_view kVfioFolder = "/dev/vfio/";
constexpr std::string_view kCdevFolder = "/dev/vfio/devices/";

// "0000:03" of "0000:03:00.0".
std::string BusOf(const std::string& address) { return address.substr(0, 7); }

int64_t Fill(char* buffer, std::size_t size, const std::string& text) {
  const std::size_t length = std::min(size, text.size());
  std::memcpy(buffer, text.data(), length);
  return static_cast<int64_t>(length);
}

}  // namespace

FakeKernel::FakeKernel(const MachineDescription& machine, const std::string& sysfs_parent) : FakeKernel(machine) {
  sysfs_.emplace(sysfs_parent);
}

FakeKernel::FakeKernel(const MachineDescription& machine)
    : iommu_(std::make_shared<IntelIommu>(machine.iommu)), has_iommufd_(machine.iommufd) {
  std::map<std::string, std::vector<std::weak_ptr<PciDevice>>> buses;
  std::map<std::string, std::shared_ptr<PciDevice>> by_address;
  for (const auto& description : machine.devices) {
    const auto device = std::make_shared<PciDevice>(description, *this, lock_, [this](DmaFault fault) REQUIRES(lock_) {
      if (faults_.size() < kMostFaults) faults_.push_back(std::move(fault));
    });
    devices_.push_back(device);
    by_address[description.address] = device;
    buses[BusOf(description.address)].push_back(device);
    auto& group = groups_[description.group];
    if (!group) group = std::make_shared<VfioGroup>(description.group);
    group->Add(device);
    device->SetPlace(group.get(), description.syspath);
  }
  const kernel::Lock guard(lock_);
  for (const auto& [address, device] : by_address) {
    const std::string& physical = device->description().physical;
    device->Connect(buses[BusOf(address)], physical.empty() ? nullptr : by_address.at(physical));
  }
  for (const auto& description : machine.mdevs) {
    auto device = MakeMdev(description, *this, lock_);
    if (!device) throw std::invalid_argument("no such type of mdev: " + description.type);
    devices_.push_back(std::move(device));
  }
}

FakeKernel::~FakeKernel() = default;

int FakeKernel::Install(std::shared_ptr<File> file, const char* name) {
  const std::string label = std::string("fake-kernel:") + name;  // lib/kernel/duplicate.ts recognizes it
  const int fd = LinuxKernel::MemfdCreate(label.c_str(), MFD_CLOEXEC);
  return fd < 0 ? fd : InstallAs(fd, std::move(file));
}

int FakeKernel::InstallAs(int memfd, std::shared_ptr<File> file) {
  struct stat info = {};
  LinuxKernel::Fstat(memfd, &info);
  files_[{info.st_dev, info.st_ino}] = {std::move(file), 1, {}};
  return memfd;
}

int FakeKernel::CountFds(const Key& key, const Entry& entry) {
  int count = entry.sentinel.watches() ? -1 : 0;
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return 0;
  while (const dirent* name = readdir(folder)) {
    struct stat info = {};  // by name: another thread may have closed and reused the number
    const bool open = fstatat(dirfd(folder), name->d_name, &info, 0) == 0;
    if (open && Key{info.st_dev, info.st_ino} == key) ++count;
  }
  closedir(folder);
  return count;
}

bool FakeKernel::IsOpen(const Key& key, const Entry& entry) {
  return entry.sentinel.watches() ? entry.sentinel.IsOpen() : CountFds(key, entry) > 0;
}

FakeKernel::Entry* FakeKernel::FindEntry(int fd, Key* key) {
  struct stat info = {};
  if (files_.empty() || LinuxKernel::Fstat(fd, &info) < 0) return nullptr;
  const auto found = files_.find({info.st_dev, info.st_ino});
  if (found == files_.end()) return nullptr;
  if (key) *key = found->first;
  return &found->second;
}

std::shared_ptr<File> FakeKernel::Find(int fd) {
  const Entry* entry = FindEntry(fd);
  return entry ? entry->file : nullptr;
}

bool FakeKernel::Plays(int fd) {
  const kernel::Lock guard(lock_);
  return FindEntry(fd) != nullptr;
}

int FakeKernel::Open(const char* path, int flags) {
  const kernel::Lock guard(lock_);
  const auto replaced = replaced_nodes_.find(path);
  if (replaced != replaced_nodes_.end()) path = replaced->second.c_str();
  const std::string_view name = path;
  if (name == "/dev/iommu" && has_iommufd_) return Install(std::make_shared<Iommufd>(*this, iommu_), "iommufd");
  if (name == "/dev/udmabuf") return Install(std::make_shared<UdmabufDriver>(*this), "udmabuf-driver");
  if (name == "/dev/iommu") return -ENOENT;
  if (name == "/dev/dma_heap/system") return Install(std::make_shared<SystemHeap>(*this), "dma-heap");
  if (name.starts_with("/dev/dma_heap/")) return -ENOENT;
  if (name == "/sys/kernel/debug/sync/sw_sync") return Install(std::make_shared<SwSync>(*this), "sw_sync");
  return name.starts_with(kVfioFolder) ? OpenVfio(name) : LinuxKernel::Open(path, flags);
}

int FakeKernel::OpenVfio(std::string_view name) {
  if (name == "/dev/vfio/vfio") {
    const auto container = std::make_shared<VfioContainer>(bar_mappings_, *iommu_);
    return Install(std::make_shared<VfioContainerFile>(container), "vfio-container");
  }
  if (name.starts_with(kCdevFolder) && has_iommufd_) {
    const auto device = std::ranges::find(devices_, name.substr(kCdevFolder.size()), &CdevDevice::cdev);
    return device == devices_.end() ? -ENOENT : Install(std::make_shared<VfioCdev>(*device), "vfio-cdev");
  }
  const auto group = std::ranges::find_if(
      groups_, [&](const auto& entry) { return std::to_string(entry.first) == name.substr(kVfioFolder.size()); });
  if (group == groups_.end()) return -ENOENT;
  if (group->second->open || group->second->bound_devices > 0) return -EBUSY;
  return Install(std::make_shared<VfioGroupFile>(group->second, *this), "vfio-group");
}

int FakeKernel::Dup(int fd) {
  const kernel::Lock guard(lock_);
  const int copy = LinuxKernel::Dup(fd);
  if (copy < 0) return copy;
  if (Entry* entry = FindEntry(copy)) ++entry->references;
  return copy;
}

int FakeKernel::Close(int fd) {
  if (!Plays(fd)) return LinuxKernel::Close(fd);  // without the lock, because the close may block
  int result = 0;
  {
    const kernel::Lock guard(lock_);
    result = CloseFile(fd);
  }
  DestroyUnusedDevices();
  return result;
}

int FakeKernel::CloseFile(int fd) {
  Key key;
  Entry* entry = FindEntry(fd, &key);
  const bool last = entry && --entry->references <= 0;
  if (last && !entry->sentinel.watches()) entry->sentinel.Watch(fd);
  const int result = LinuxKernel::Close(fd);
  if (!last) return result;
  if (IsOpen(key, *entry)) {
    entry->references = CountFds(key, *entry);
    foreign_.insert(key);
    return result;
  }
  foreign_.erase(key);
  const std::shared_ptr<File> gone = std::move(entry->file);  // destroyed after it is removed from the table
  files_.erase(key);
  return result;
}

void FakeKernel::Shutdown() {
  if (sysfs_) sysfs_->Remove();
  {
    const kernel::Lock guard(lock_);
    is_shut_down_ = true;
    Sweep();
  }
  DestroyUnusedDevices();
}

void FakeKernel::AfterForkInChild() {
  if (actions_) actions_->Restart();
  lock_.Release();
}

void FakeKernel::DestroyUnusedDevices() {
  // Destroyed without the lock, because the destructor of EventfdActions waits for its thread.
  std::vector<std::shared_ptr<CdevDevice>> devices;
  std::map<unsigned, std::shared_ptr<VfioGroup>> groups;
  std::unique_ptr<EventfdActions> actions;
  const kernel::Lock guard(lock_);
  if (!is_shut_down_ || !files_.empty()) return;
  devices.swap(devices_);
  groups.swap(groups_);
  actions.swap(actions_);
}

void FakeKernel::Sweep() {
  std::vector<std::shared_ptr<File>> gone;  // destroyed after they are removed from the table
  for (auto key = foreign_.begin(); key != foreign_.end();) {
    const auto entry = files_.find(*key);
    if (entry != files_.end() && IsOpen(*key, entry->second)) {
      ++key;
      continue;
    }
    if (entry != files_.end()) {
      gone.push_back(std::move(entry->second.file));
      files_.erase(entry);
    }
    key = foreign_.erase(key);
  }
}

int FakeKernel::Ioctl(int fd, unsigned long request, void* argument) {
  for (;;) {
    uint32_t seen = 0;
    {
      const kernel::Lock guard(lock_);
      Sweep();
      const auto file = Find(fd);
      if (!file) return LinuxKernel::Ioctl(fd, request, argument);
      if (!IsArgumentThere(request, argument)) return -EFAULT;
      seen = fence_hub_.changes();
      const int result = file->Ioctl(request, argument);
      if (result != kSleeps) return result;
    }
    fence_hub_.WaitForChange(seen);
  }
}

int64_t FakeKernel::Receive(int fd, void* bytes, std::size_t size, kernel::Received* out) {
  const int64_t result = LinuxKernel::Receive(fd, bytes, size, out);  // without the lock, because it may block
  const kernel::Lock guard(lock_);
  for (unsigned i = 0; i < out->count; ++i) {
    if (Entry* entry = FindEntry(out->fds[i])) ++entry->references;
  }
  return result;
}

int FakeKernel::PidfdGetfd(int pid, int number) {
  const kernel::Lock guard(lock_);
  const int copy = LinuxKernel::PidfdGetfd(pid, number);
  if (copy < 0) return copy;
  if (Entry* entry = FindEntry(copy)) ++entry->references;
  return copy;
}

int64_t FakeKernel::Pread(int fd, void* buffer, std::size_t size, uint64_t offset) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Pread(buffer, size, offset) : LinuxKernel::Pread(fd, buffer, size, offset);
}

int64_t FakeKernel::Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Pwrite(buffer, size, offset) : LinuxKernel::Pwrite(fd, buffer, size, offset);
}

int64_t FakeKernel::Read(int fd, void* buffer, std::size_t size) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Read(buffer, size) : LinuxKernel::Read(fd, buffer, size);
}

// Files of the fake never wait.
int64_t FakeKernel::ReadNow(int fd, void* buffer, std::size_t size) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Read(buffer, size) : LinuxKernel::ReadNow(fd, buffer, size);
}

int64_t FakeKernel::Write(int fd, const void* buffer, std::size_t size) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  if (file) return file->Write(buffer, size);
  const int64_t written = LinuxKernel::Write(fd, buffer, size);
  if (actions_) actions_->Serve();  // as in the kernel, before the write returns
  return written;
}

void FakeKernel::ServeSignals() {
  const kernel::Lock guard(lock_);
  if (actions_) actions_->Serve();
}

int FakeKernel::Poll(int fd, int events) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Poll(events) : LinuxKernel::Poll(fd, events);
}

int FakeKernel::WatchFd(int fd, int* events) {
  {
    const kernel::Lock guard(lock_);
    if (const auto file = Find(fd)) return file->WatchFd(events);
  }
  return LinuxKernel::WatchFd(fd, events);
}

int64_t FakeKernel::Lseek(int fd, int64_t offset, int whence) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->Lseek(offset, whence) : LinuxKernel::Lseek(fd, offset, whence);
}

int FakeKernel::Fstat(int fd, struct stat* out) {
  const kernel::Lock guard(lock_);
  const int result = LinuxKernel::Fstat(fd, out);
  if (result < 0) return result;
  const auto file = Find(fd);
  const dev_t number = file ? file->DeviceNumber() : 0;
  if (number == 0) return result;
  out->st_mode = S_IFCHR | S_IRUSR | S_IWUSR;
  out->st_rdev = number;
  out->st_size = out->st_blocks = 0;
  return result;
}

int64_t FakeKernel::FilesystemMagic(int fd) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? file->FilesystemMagic() : LinuxKernel::FilesystemMagic(fd);
}

int64_t FakeKernel::Fdinfo(int fd, char* buffer, std::size_t size) {
  const kernel::Lock guard(lock_);
  Key key;
  const Entry* entry = FindEntry(fd, &key);
  return entry ? Fill(buffer, size, entry->file->Fdinfo(CountFds(key, *entry))) : LinuxKernel::Fdinfo(fd, buffer, size);
}

int64_t FakeKernel::FdPath(int fd, char* buffer, std::size_t size) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  return file ? Fill(buffer, size, file->Path()) : LinuxKernel::FdPath(fd, buffer, size);
}

int FakeKernel::Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, kernel::MappedPages* out) {
  const kernel::Lock guard(lock_);
  const auto file = Find(fd);
  const int result = file ? file->Mmap(length, protection, flags, offset, out)
                          : LinuxKernel::Mmap(length, protection, flags, fd, offset, out);
  if (result == 0) ++mappings_;
  return result;
}

int FakeKernel::Munmap(void* address, std::size_t length) {
  {
    const kernel::Lock guard(lock_);
    bar_mappings_.Remove(reinterpret_cast<uintptr_t>(address), length);
  }
  --mappings_;
  return LinuxKernel::Munmap(address, length);
}

void FakeKernel::ReplaceNode(const std::string& path, const std::string& target) {
  const kernel::Lock guard(lock_);
  if (path == target) {
    replaced_nodes_.erase(path);
  } else {
    replaced_nodes_[path] = target;
  }
}

std::vector<DmaFault> FakeKernel::TakeFaults() {
  const kernel::Lock guard(lock_);
  return std::exchange(faults_, {});
}

std::size_t FakeKernel::OpenFiles() {
  const kernel::Lock guard(lock_);
  Sweep();
  return files_.size();
}

}  // namespace fake
