// The seam: every call that leaves this addon for a kernel goes through a Kernel. LinuxKernel makes system calls; the
// fake kernel answers the same requests, with the same bytes, from models.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kernel {

// Registers that are a model, not memory: each access of `width` bytes (1, 2, 4 or 8) is a call.
class MmioTrap {
 public:
  virtual ~MmioTrap() = default;
  virtual uint64_t Read(uint64_t offset, unsigned width) = 0;
  virtual void Write(uint64_t offset, unsigned width, uint64_t value) = 0;
};

struct MappedPages {
  void* address = nullptr;
  std::shared_ptr<MmioTrap> trap;  // set when loads and stores at `address` would not reach the device
  std::shared_ptr<void> hold;      // whatever is to go with the mapping
};

// What comes with the bytes of a message.
struct Received {
  static constexpr unsigned kMost = 253;  // SCM_MAX_FD
  int fds[kMost];                         // close-on-exec; the caller's
  unsigned count;
  int flags;  // recvmsg(2)'s: MSG_TRUNC, MSG_CTRUNC
};

// Every method returns a result >= 0, or a negated errno. All may be called from several threads at once.
class Kernel {
 public:
  virtual ~Kernel() = default;

  virtual int Open(const char* path, int flags) = 0;
  virtual int Dup(int fd) = 0;  // close-on-exec
  virtual int Close(int fd) = 0;
  virtual int Ioctl(int fd, unsigned long request, void* argument) = 0;
  virtual int64_t Pread(int fd, void* buffer, std::size_t size, uint64_t offset) = 0;
  virtual int64_t Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) = 0;
  virtual int64_t Read(int fd, void* buffer, std::size_t size) = 0;
  virtual int64_t Write(int fd, const void* buffer, std::size_t size) = 0;
  virtual int64_t Lseek(int fd, int64_t offset, int whence) = 0;
  virtual int Fstat(int fd, struct stat* out) = 0;
  virtual int64_t FilesystemMagic(int fd) = 0;                         // fstatfs(2)'s f_type
  virtual int64_t Fdinfo(int fd, char* buffer, std::size_t size) = 0;  // /proc/self/fdinfo: the bytes read
  virtual int64_t FdPath(int fd, char* buffer, std::size_t size) = 0;  // what it is open on: the length
  virtual int Eventfd(unsigned count, int flags) = 0;                  // close-on-exec
  virtual int Poll(int fd, int events) = 0;  // poll(2) without waiting: those of `events` that are ready
  // A new fd, the caller's, for an event loop to watch in place of `fd`: an event of `*events` (poll(2)'s), as the call
  // leaves them, is ready there while one of those that were asked for is ready on `fd`. A flag that the loop sets on
  // it changes nothing for others who have `fd`'s file open. To be closed before `fd`.
  virtual int WatchFd(int fd, int* events) = 0;
  virtual int MemfdCreate(const char* name, unsigned flags) = 0;
  virtual int Ftruncate(int fd, uint64_t size) = 0;
  virtual int AddSeals(int fd, int seals) = 0;
  virtual int GetSeals(int fd) = 0;
  virtual int Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, MappedPages* out) = 0;
  virtual int Munmap(void* address, std::size_t length) = 0;

  // Unix sockets; `type` is SOCK_STREAM or SOCK_SEQPACKET. New fds are close-on-exec. No call blocks.
  virtual int Socket(int type) = 0;
  virtual int SocketPair(int type, int out[2]) = 0;
  virtual int Connect(int fd, const char* path) = 0;
  // `mode`: of the socket file from its first moment on.
  virtual int Listen(int fd, const char* path, unsigned mode, int backlog) = 0;
  virtual int Accept(int fd) = 0;
  virtual int64_t Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) = 0;
  virtual int64_t Receive(int fd, void* bytes, std::size_t size, Received* out) = 0;
  virtual int PeerCredentials(int fd, struct ucred* out) = 0;
  // SO_PEERGROUPS: how many, at most `most`; -ERANGE: there are more.
  virtual int PeerGroups(int fd, gid_t* out, unsigned most) = 0;
  virtual int Unread(int fd) = 0;  // SIOCOUTQ: bytes of memory that what was sent takes until the peer has read it
  // Another process's fd, as an fd of this one's.
  virtual int PidfdGetfd(int pid, int number) = 0;
};

}  // namespace kernel
