// A fake kernel under observation: it knows how much is mapped, and can fail a call that is asked for. Closing and
// unmapping do not fail.
#pragma once

#include <atomic>
#include <optional>

#include "fake/fake_kernel.h"
#include "kernel/mutex.h"

namespace fake {

class ObservedKernel : public FakeKernel {
 public:
  using FakeKernel::FakeKernel;

  struct Call {
    const char* name;
    unsigned long request;  // of an ioctl, else 0
  };
  // The n-th call from now (1: the next) answers with `error`, once. 0: none does.
  void FailCall(uint64_t n, int error);
  // The call that failed since.
  std::optional<Call> FailedCall();
  int64_t OpenMappings() const { return mappings_; }

  int Open(const char* path, int flags) override;
  int Dup(int fd) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  int64_t Pread(int fd, void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Read(int fd, void* buffer, std::size_t size) override;
  int64_t Write(int fd, const void* buffer, std::size_t size) override;
  int64_t Lseek(int fd, int64_t offset, int whence) override;
  int Fstat(int fd, struct stat* out) override;
  int64_t FilesystemMagic(int fd) override;
  int64_t Fdinfo(int fd, char* buffer, std::size_t size) override;
  int64_t FdPath(int fd, char* buffer, std::size_t size) override;
  int Eventfd(unsigned count, int flags) override;
  int Poll(int fd, int events) override;
  int WatchFd(int fd, int* events) override;
  int MemfdCreate(const char* name, unsigned flags) override;
  int Ftruncate(int fd, uint64_t size) override;
  int AddSeals(int fd, int seals) override;
  int GetSeals(int fd) override;
  int Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, kernel::MappedPages* out) override;
  int Munmap(void* address, std::size_t length) override;
  int Socket(int type) override;
  int SocketPair(int type, int out[2]) override;
  int Connect(int fd, const char* path) override;
  int Listen(int fd, const char* path, unsigned mode, int backlog) override;
  int Accept(int fd) override;
  int64_t Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) override;
  int64_t Receive(int fd, void* bytes, std::size_t size, kernel::Received* out) override;
  int64_t Peek(int fd, int* flags) override;
  int RefuseFds(int fd) override;
  int HasRoomForFds(unsigned count) override;
  int Lock(int fd) override;
  int PeerCredentials(int fd, struct ucred* out) override;
  int PeerGroups(int fd, gid_t* out, unsigned most) override;
  int Unread(int fd) override;
  int PidfdGetfd(int pid, int number) override;

 private:
  // The negated errno with which this call is to fail, or 0.
  int Fail(const char* name, unsigned long request = 0);

  std::atomic<int64_t> mappings_ = 0;
  std::atomic<bool> armed_ = false;
  kernel::Mutex call_lock_;
  uint64_t countdown_ GUARDED_BY(call_lock_) = 0;
  int error_ GUARDED_BY(call_lock_) = 0;
  std::optional<Call> failed_ GUARDED_BY(call_lock_);
};

}  // namespace fake
