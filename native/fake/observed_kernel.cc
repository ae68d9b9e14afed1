#include "fake/observed_kernel.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

namespace fake {

void ObservedKernel::FailCall(uint64_t n, int error) {
  const kernel::Lock guard(call_lock_);
  countdown_ = n;
  error_ = error;
  failed_.reset();
  armed_ = n > 0;
}

std::optional<ObservedKernel::Call> ObservedKernel::FailedCall() {
  const kernel::Lock guard(call_lock_);
  return failed_;
}

int ObservedKernel::Fail(const char* name, unsigned long request) {
  if (!armed_) return 0;
  const kernel::Lock guard(call_lock_);
  if (countdown_ == 0) return 0;
  --countdown_;
  if (countdown_ > 0) return 0;
  armed_ = false;
  failed_ = Call{name, request};
  return -error_;
}

int ObservedKernel::Open(const char* path, int flags) {
  const int error = Fail("open");
  return error != 0 ? error : FakeKernel::Open(path, flags);
}

int ObservedKernel::Dup(int fd) {
  const int error = Fail("fcntl");
  return error != 0 ? error : FakeKernel::Dup(fd);
}

int ObservedKernel::Ioctl(int fd, unsigned long request, void* argument) {
  const int error = Fail("ioctl", request);
  return error != 0 ? error : FakeKernel::Ioctl(fd, request, argument);
}

int64_t ObservedKernel::Pread(int fd, void* buffer, std::size_t size, uint64_t offset) {
  const int error = Fail("pread");
  return error != 0 ? error : FakeKernel::Pread(fd, buffer, size, offset);
}

int64_t ObservedKernel::Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) {
  const int error = Fail("pwrite");
  return error != 0 ? error : FakeKernel::Pwrite(fd, buffer, size, offset);
}

int64_t ObservedKernel::Read(int fd, void* buffer, std::size_t size) {
  const int error = Fail("read");
  return error != 0 ? error : FakeKernel::Read(fd, buffer, size);
}

int64_t ObservedKernel::Write(int fd, const void* buffer, std::size_t size) {
  const int error = Fail("write");
  return error != 0 ? error : FakeKernel::Write(fd, buffer, size);
}

int64_t ObservedKernel::Lseek(int fd, int64_t offset, int whence) {
  const int error = Fail("lseek");
  return error != 0 ? error : FakeKernel::Lseek(fd, offset, whence);
}

int ObservedKernel::Fstat(int fd, struct stat* out) {
  const int error = Fail("fstat");
  return error != 0 ? error : FakeKernel::Fstat(fd, out);
}

int64_t ObservedKernel::FilesystemMagic(int fd) {
  const int error = Fail("fstatfs");
  return error != 0 ? error : FakeKernel::FilesystemMagic(fd);
}

int64_t ObservedKernel::Fdinfo(int fd, char* buffer, std::size_t size) {
  const int error = Fail("read");
  return error != 0 ? error : FakeKernel::Fdinfo(fd, buffer, size);
}

int64_t ObservedKernel::FdPath(int fd, char* buffer, std::size_t size) {
  const int error = Fail("readlink");
  return error != 0 ? error : FakeKernel::FdPath(fd, buffer, size);
}

int ObservedKernel::Eventfd(unsigned count, int flags) {
  const int error = Fail("eventfd");
  return error != 0 ? error : FakeKernel::Eventfd(count, flags);
}

int ObservedKernel::Poll(int fd, int events) {
  const int error = Fail("poll");
  return error != 0 ? error : FakeKernel::Poll(fd, events);
}

int ObservedKernel::WatchFd(int fd, int* events) {
  const int error = Fail("fcntl");
  return error != 0 ? error : FakeKernel::WatchFd(fd, events);
}

int ObservedKernel::MemfdCreate(const char* name, unsigned flags) {
  const int error = Fail("memfd_create");
  return error != 0 ? error : FakeKernel::MemfdCreate(name, flags);
}

int ObservedKernel::Ftruncate(int fd, uint64_t size) {
  const int error = Fail("ftruncate");
  return error != 0 ? error : FakeKernel::Ftruncate(fd, size);
}

int ObservedKernel::AddSeals(int fd, int seals) {
  const int error = Fail("fcntl");
  return error != 0 ? error : FakeKernel::AddSeals(fd, seals);
}

int ObservedKernel::GetSeals(int fd) {
  const int error = Fail("fcntl");
  return error != 0 ? error : FakeKernel::GetSeals(fd);
}

int ObservedKernel::Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset,
                         kernel::MappedPages* out) {
  int result = Fail("mmap");
  if (result == 0) result = FakeKernel::Mmap(length, protection, flags, fd, offset, out);
  if (result == 0) ++mappings_;
  return result;
}

int ObservedKernel::Munmap(void* address, std::size_t length) {
  --mappings_;
  return FakeKernel::Munmap(address, length);
}

int ObservedKernel::Socket(int type) {
  const int error = Fail("socket");
  return error != 0 ? error : FakeKernel::Socket(type);
}

int ObservedKernel::SocketPair(int type, int out[2]) {
  const int error = Fail("socketpair");
  return error != 0 ? error : FakeKernel::SocketPair(type, out);
}

int ObservedKernel::Connect(int fd, const char* path) {
  const int error = Fail("connect");
  return error != 0 ? error : FakeKernel::Connect(fd, path);
}

int ObservedKernel::Listen(int fd, const char* path, unsigned mode, int backlog) {
  const int error = Fail("bind");
  return error != 0 ? error : FakeKernel::Listen(fd, path, mode, backlog);
}

int ObservedKernel::Accept(int fd) {
  const int error = Fail("accept4");
  return error != 0 ? error : FakeKernel::Accept(fd);
}

int64_t ObservedKernel::Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) {
  const int error = Fail("sendmsg");
  return error != 0 ? error : FakeKernel::Send(fd, bytes, size, fds, count);
}

int64_t ObservedKernel::Receive(int fd, void* bytes, std::size_t size, kernel::Received* out) {
  const int error = Fail("recvmsg");
  return error != 0 ? error : FakeKernel::Receive(fd, bytes, size, out);
}

int64_t ObservedKernel::Peek(int fd, int* flags) {
  const int error = Fail("recvmsg");
  return error != 0 ? error : FakeKernel::Peek(fd, flags);
}

int ObservedKernel::RefuseFds(int fd) {
  const int error = Fail("setsockopt");
  return error != 0 ? error : FakeKernel::RefuseFds(fd);
}

int ObservedKernel::HasRoomForFds(unsigned count) {
  const int error = Fail("poll");
  return error != 0 ? error : FakeKernel::HasRoomForFds(count);
}

int ObservedKernel::Lock(int fd) {
  const int error = Fail("flock");
  return error != 0 ? error : FakeKernel::Lock(fd);
}

int ObservedKernel::PeerCredentials(int fd, struct ucred* out) {
  const int error = Fail("getsockopt");
  return error != 0 ? error : FakeKernel::PeerCredentials(fd, out);
}

int ObservedKernel::PeerGroups(int fd, gid_t* out, unsigned most) {
  const int error = Fail("getsockopt");
  return error != 0 ? error : FakeKernel::PeerGroups(fd, out, most);
}

int ObservedKernel::Unread(int fd) {
  const int error = Fail("ioctl", SIOCOUTQ);
  return error != 0 ? error : FakeKernel::Unread(fd);
}

int ObservedKernel::PidfdGetfd(int pid, int number) {
  const int error = Fail("pidfd_getfd");
  return error != 0 ? error : FakeKernel::PidfdGetfd(pid, number);
}

}  // namespace fake
