// The kernel this process runs on.
#pragma once

#include "kernel/kernel.h"

namespace kernel {

class LinuxKernel : public Kernel {
 public:
  int Open(const char* path, int flags) override;
  int Dup(int fd) override;
  int Close(int fd) override;
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
  int Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, MappedPages* out) override;
  int Munmap(void* address, std::size_t length) override;
  int Socket(int type) override;
  int SocketPair(int type, int out[2]) override;
  int Connect(int fd, const char* path) override;
  int Listen(int fd, const char* path, unsigned mode, int backlog) override;
  int Accept(int fd) override;
  int64_t Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) override;
  int64_t Receive(int fd, void* bytes, std::size_t size, Received* out) override;
  int64_t Peek(int fd, int* flags) override;
  int RefuseFds(int fd) override;
  int HasRoomForFds(unsigned count) override;
  int Lock(int fd) override;
  int PeerCredentials(int fd, struct ucred* out) override;
  int PeerGroups(int fd, gid_t* out, unsigned most) override;
  int Unread(int fd) override;
  int PidfdGetfd(int pid, int number) override;
};

}  // namespace kernel
