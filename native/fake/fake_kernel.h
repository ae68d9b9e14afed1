// A kernel that answers as Linux does, for a machine that exists only as a description: the same requests, bytes and
// errnos. Files that are not its own (memfds, ordinary files) go to the real kernel. Its fds are real fds, so that dup,
// close-on-exec, mmap and fd passing work.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fake/dma_buf/fence.h"
#include "fake/files/eventfd.h"
#include "fake/files/file.h"
#include "fake/files/sentinel.h"
#include "fake/host/sysfs_folder.h"
#include "fake/iommu/bar_mappings.h"
#include "fake/iommu/intel_iommu.h"
#include "fake/mdev/mdev.h"
#include "fake/pci/pci_device.h"
#include "fake/vfio/vfio_group.h"
#include "kernel/linux_kernel.h"
#include "kernel/mutex.h"

namespace fake {

// The machine that a fake kernel plays: plain data from TypeScript (lib/fake/machine.ts).
struct MachineDescription {
  bool iommufd = true;  // whether the kernel has it, and with it VFIO's character devices
  IommuLimits iommu;
  std::vector<DeviceDescription> devices;
  std::vector<MdevDescription> mdevs;
};

class FakeKernel : public kernel::LinuxKernel, public FileTable {
 public:
  // Its sysfs is a new, empty folder in `sysfs_parent`, which the caller fills.
  FakeKernel(const MachineDescription& machine, const std::string& sysfs_parent);
  ~FakeKernel() override;

  int Open(const char* path, int flags) override;
  int Dup(int fd) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  int64_t Pread(int fd, void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Read(int fd, void* buffer, std::size_t size) override;
  int64_t ReadNow(int fd, void* buffer, std::size_t size) override;
  int64_t Write(int fd, const void* buffer, std::size_t size) override;
  int64_t Lseek(int fd, int64_t offset, int whence) override;
  int Fstat(int fd, struct stat* out) override;
  int64_t FilesystemMagic(int fd) override;
  int64_t Fdinfo(int fd, char* buffer, std::size_t size) override;
  int64_t FdPath(int fd, char* buffer, std::size_t size) override;
  int Poll(int fd, int events) override;
  int WatchFd(int fd, int* events) override;
  int Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, kernel::MappedPages* out) override;
  int Munmap(void* address, std::size_t length) override;

  int64_t Receive(int fd, void* bytes, std::size_t size, kernel::Received* out) override;
  int PidfdGetfd(int pid, int number) override;

  std::vector<DmaFault> TakeFaults();
  // For leak checks: this kernel's open files, and all mappings that were made through it.
  std::size_t OpenFiles();
  int64_t OpenMappings() const { return mappings_; }
  SysfsFolder& sysfs() { return sysfs_; }
  // From now on whoever opens `path` opens what is at `target`, as if that node had been bind-mounted over it: for
  // tests of a /dev that is out of date. The same path twice takes it back.
  void ReplaceNode(const std::string& path, const std::string& target);

 private:
  using Key = std::pair<dev_t, ino_t>;  // of the memfd that stands for the file
  struct Entry {
    std::shared_ptr<File> file;
    int references;     // fds known to be open on it
    Sentinel sentinel;  // watches the file after its last known fd
  };

  int Install(std::shared_ptr<File> file, const char* name) override REQUIRES(lock_);
  void InstallAs(int memfd, std::shared_ptr<File> file) override REQUIRES(lock_);
  std::shared_ptr<File> Find(int fd) override REQUIRES(lock_);
  BarMappings& bar_mappings() override REQUIRES(lock_) { return bar_mappings_; }
  int OpenVfio(std::string_view name) REQUIRES(lock_);
  int OnSignal(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out) override REQUIRES(lock_) {
    return actions_.Add(fd, std::move(act), out);
  }
  FenceHub& fence_hub() override { return fence_hub_; }
  // Whether an fd is open on a file of this kernel.
  bool Plays(int fd);
  Entry* FindEntry(int fd, Key* key = nullptr) REQUIRES(lock_);
  // How many of this process's fds are open on the file: also those that other calls than this kernel's made.
  static int CountFds(const Key& key, const Entry& entry);
  static bool IsOpen(const Key& key, const Entry& entry);
  // Removes files whose last fd was closed by another call than this kernel's.
  void Sweep() REQUIRES(lock_);

  SysfsFolder sysfs_;
  kernel::Mutex lock_;  // guards every File and device, too
  const std::shared_ptr<const IntelIommu> iommu_;
  const bool has_iommufd_;
  BarMappings bar_mappings_ GUARDED_BY(lock_);
  EventfdActions actions_ GUARDED_BY(lock_) = EventfdActions(lock_);
  FenceHub fence_hub_;  // outlives the files
  std::vector<std::shared_ptr<CdevDevice>> devices_ GUARDED_BY(lock_);
  std::map<unsigned, std::shared_ptr<VfioGroup>> groups_ GUARDED_BY(lock_);  // by number
  std::map<Key, Entry> files_ GUARDED_BY(lock_);
  std::map<std::string, std::string, std::less<>> replaced_nodes_ GUARDED_BY(lock_);  // what is opened instead
  // Those that are open by fds that were made behind the fake's back: in messages, in other processes, by dup(2).
  std::set<Key> foreign_ GUARDED_BY(lock_);
  std::vector<DmaFault> faults_ GUARDED_BY(lock_);
  std::atomic<int64_t> mappings_ = 0;
};

}  // namespace fake
