// A kernel that answers as Linux does, for a machine that is only described: the same requests, bytes and errnos. What
// it does not play (memfds, ordinary files) it leaves to the real kernel, and its own fds are real ones, so that dup,
// close-on-exec, mmap and passing them on behave.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fake/description.h"
#include "fake/eventfd.h"
#include "fake/file.h"
#include "fake/intel_iommu.h"
#include "fake/pci_device.h"
#include "fake/sentinel.h"
#include "fake/sysfs_folder.h"
#include "fake/vfio_group.h"
#include "kernel/linux_kernel.h"
#include "kernel/mutex.h"

namespace fake {

class FakeKernel : public kernel::LinuxKernel, public FileTable {
 public:
  // Its sysfs is a new folder in `sysfs_parent`, empty: what is in it is up to the caller.
  FakeKernel(const MachineDescription& machine, const std::string& sysfs_parent);
  ~FakeKernel() override;

  int Open(const char* path, int flags) override;
  int Dup(int fd) override;
  int Close(int fd) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  int64_t Pread(int fd, void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Read(int fd, void* buffer, std::size_t size) override;
  int64_t Write(int fd, const void* buffer, std::size_t size) override;
  int64_t Lseek(int fd, int64_t offset, int whence) override;
  int64_t FilesystemMagic(int fd) override;
  int64_t Fdinfo(int fd, char* buffer, std::size_t size) override;
  int64_t FdPath(int fd, char* buffer, std::size_t size) override;
  int Poll(int fd, int events) override;
  int WatchFd(int fd, int* events) override;
  int Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, kernel::MappedPages* out) override;

  int Munmap(void* address, std::size_t length) override;

  int64_t Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) override;
  int64_t Receive(int fd, void* bytes, std::size_t size, kernel::Received* out) override;
  int PidfdGetfd(int pid, int number) override;

  std::vector<DmaFault> TakeFaults();
  // Open files of this kernel, by kind, for leak checks.
  std::size_t OpenFiles();
  SysfsFolder& sysfs() { return sysfs_; }

 private:
  using Key = std::pair<dev_t, ino_t>;  // of the memfd that stands for the file
  struct Entry {
    std::shared_ptr<File> file;
    int references;     // fds known to be open on it
    bool foreign;       // some were made behind the fake's back, and will be closed there
    bool sent = false;  // at some time: a message or another process may have it
    Sentinel sentinel;  // then, once no fd is known
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
  // How many of this process's fds are open on the file: a duplicate that was made behind the fake's back counts too.
  static int CountFds(const Key& key, const Entry& entry);
  static bool IsOpen(const Key& key, const Entry& entry);
  // Lets go of files whose last fd was closed behind the fake's back.
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
  bool any_foreign_ GUARDED_BY(lock_) = false;
  std::vector<DmaFault> faults_ GUARDED_BY(lock_);
};

}  // namespace fake
