// A Kernel that behaves as Linux does on a machine that exists only as a description: the same requests, bytes and
// errnos. Calls for other files (memfds, ordinary files) go to the real kernel. The fake's fds are real fds, so that
// dup(2), close-on-exec, mmap(2) and fd passing work.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
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
#include "fake/machine.h"
#include "fake/mdev/mdev.h"
#include "fake/pci/pci_device.h"
#include "fake/vfio/vfio_group.h"
#include "kernel/linux_kernel.h"
#include "kernel/mutex.h"

namespace fake {

class FakeKernel : public kernel::LinuxKernel, public FileTable {
 public:
  // A kernel whose sysfs is not its own.
  explicit FakeKernel(const MachineDescription& machine);
  // Creates an empty folder in `sysfs_parent` for its sysfs. The caller fills the folder.
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

  // Whether an fd is open on a file of this kernel.
  bool Plays(int fd);
  // Runs the actions of eventfds that were signaled by a write that did not go through this kernel, without waiting for
  // the thread that does it otherwise.
  void ServeSignals();
  // fork(2) is called between these. The child has a copy of this kernel, with all files that are open.
  void BeforeFork() ACQUIRE(lock_) { lock_.Acquire(); }
  void AfterForkInParent() RELEASE(lock_) { lock_.Release(); }
  void AfterForkInChild() RELEASE(lock_);

  std::vector<DmaFault> TakeFaults();
  // For leak checks: the number of this kernel's open files, and of all mappings that were made through it.
  std::size_t OpenFiles();
  int64_t OpenMappings() const { return mappings_; }
  // The path of its sysfs; "" if it is not its own.
  std::string sysfs() const { return sysfs_ ? sysfs_->path() : ""; }
  // Removes the sysfs folder. The devices, with the fds and the memory of their BARs, are destroyed when no file of
  // this kernel is open any more.
  void Shutdown();
  // Makes Open(`path`) open `target`, as if that node was bind-mounted over `path`, for tests of an outdated /dev. If
  // `target` is `path`, the replacement is removed.
  void ReplaceNode(const std::string& path, const std::string& target);

 protected:
  int InstallAs(int memfd, std::shared_ptr<File> file) override REQUIRES(lock_);

 private:
  using Key = std::pair<dev_t, ino_t>;  // of the memfd that represents the file
  struct Entry {
    std::shared_ptr<File> file;
    int references;     // number of known fds of the file
    Sentinel sentinel;  // watches the file after its last known fd was closed
  };

  int Install(std::shared_ptr<File> file, const char* name) override REQUIRES(lock_);
  std::shared_ptr<File> Find(int fd) override REQUIRES(lock_);
  BarMappings& bar_mappings() override REQUIRES(lock_) { return bar_mappings_; }
  int OpenVfio(std::string_view name) REQUIRES(lock_);
  int OnSignal(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out) override REQUIRES(lock_) {
    if (!actions_) actions_ = std::make_unique<EventfdActions>(lock_);
    return actions_->Add(fd, std::move(act), out);
  }
  FenceHub& fence_hub() override { return fence_hub_; }
  Entry* FindEntry(int fd, Key* key = nullptr) REQUIRES(lock_);
  // The number of this process's fds of the file, including those that were not made through this kernel.
  static int CountFds(const Key& key, const Entry& entry);
  static bool IsOpen(const Key& key, const Entry& entry);
  // Removes files whose last fd was not closed through this kernel.
  void Sweep() REQUIRES(lock_);
  // Closes an fd of one of this kernel's files.
  int CloseFile(int fd) REQUIRES(lock_);
  void DestroyUnusedDevices();

  std::optional<SysfsFolder> sysfs_;
  kernel::Mutex lock_;  // also guards all Files and devices
  const std::shared_ptr<const IntelIommu> iommu_;
  const bool has_iommufd_;
  BarMappings bar_mappings_ GUARDED_BY(lock_);
  std::unique_ptr<EventfdActions> actions_ GUARDED_BY(lock_);
  FenceHub fence_hub_;  // outlives the files
  std::vector<std::shared_ptr<CdevDevice>> devices_ GUARDED_BY(lock_);
  std::map<unsigned, std::shared_ptr<VfioGroup>> groups_ GUARDED_BY(lock_);  // by number
  std::map<Key, Entry> files_ GUARDED_BY(lock_);
  std::map<std::string, std::string, std::less<>> replaced_nodes_ GUARDED_BY(lock_);  // see ReplaceNode()
  // Files of which only fds are left that were not made through this kernel: in messages, in other processes, by
  // dup(2).
  std::set<Key> foreign_ GUARDED_BY(lock_);
  std::vector<DmaFault> faults_ GUARDED_BY(lock_);
  bool is_shut_down_ GUARDED_BY(lock_) = false;
  std::atomic<int64_t> mappings_ = 0;
};

}  // namespace fake
