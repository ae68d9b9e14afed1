// Makes Linux's system calls for Unix sockets, and other calls that share files between processes.
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "kernel/linux_kernel.h"

namespace kernel {
namespace {

constexpr int kFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr int kPassRights = 83;  // SO_PASSRIGHTS; most libc headers lack it

template <typename T>
T OrErrno(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

// Returns 0 or -ENAMETOOLONG. A path that begins with '@' is in the abstract namespace.
int ToAddress(const char* path, struct sockaddr_un* out, socklen_t* length) {
  *out = {};
  out->sun_family = AF_UNIX;
  const std::size_t size = strlen(path);
  if (size >= sizeof(out->sun_path)) return -ENAMETOOLONG;
  memcpy(out->sun_path, path, size);
  if (path[0] == '@') out->sun_path[0] = '\0';
  *length = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + size + (path[0] == '@' ? 0 : 1));
  return 0;
}

}  // namespace

int LinuxKernel::Socket(int type) { return OrErrno(socket(AF_UNIX, type | kFlags, 0)); }

// Creates sockets without O_NONBLOCK, because a child process that inherits one may use blocking calls. The calls of
// this file use MSG_DONTWAIT.
int LinuxKernel::SocketPair(int type, int out[2]) { return OrErrno(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out)); }

int LinuxKernel::Connect(int fd, const char* path) {
  struct sockaddr_un address;
  socklen_t length = 0;
  const int result = ToAddress(path, &address, &length);
  return result < 0 ? result : OrErrno(connect(fd, reinterpret_cast<struct sockaddr*>(&address), length));
}

int LinuxKernel::Listen(int fd, const char* path, unsigned mode, int backlog) {
  struct sockaddr_un address;
  socklen_t length = 0;
  const int result = ToAddress(path, &address, &length);
  if (result < 0) return result;
  // bind(2) creates the file with the mode of the socket less the umask, so it never has more permissions than `mode`.
  if (fchmod(fd, mode) < 0) return -errno;
  if (bind(fd, reinterpret_cast<struct sockaddr*>(&address), length) < 0) return -errno;
  if (path[0] != '@' && chmod(path, mode) < 0) return -errno;
  return OrErrno(listen(fd, backlog));
}

int LinuxKernel::Accept(int fd) { return OrErrno(accept4(fd, nullptr, nullptr, kFlags)); }

int64_t LinuxKernel::Send(int fd, const void* bytes, std::size_t size, const int* fds, unsigned count) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(Received::kMost * sizeof(int))] = {};
  struct iovec part = {const_cast<void*>(bytes), size};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > Received::kMost) return -EINVAL;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
  }
  return OrErrno<int64_t>(sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));
}

int64_t LinuxKernel::Receive(int fd, void* bytes, std::size_t size, Received* out) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(Received::kMost * sizeof(int))];
  struct iovec part = {bytes, size};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  out->count = 0;
  const int64_t result = OrErrno<int64_t>(recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
  if (result < 0) return result;
  out->flags = message.msg_flags;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    constexpr int kPidfd = 4;  // SCM_PIDFD: comes if the socket has SO_PASSPIDFD
    if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == kPidfd) {
      int pidfd = -1;
      memcpy(&pidfd, CMSG_DATA(header), sizeof(pidfd));
      if (pidfd >= 0) close(pidfd);
    }
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const unsigned count = static_cast<unsigned>((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(out->fds + out->count, CMSG_DATA(header), count * sizeof(int));
    out->count += count;
  }
  return result;
}

int64_t LinuxKernel::Peek(int fd, int* flags) {
  char byte = 0;
  struct iovec part = {&byte, sizeof(byte)};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const int64_t result = OrErrno<int64_t>(recvmsg(fd, &message, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
  if (result >= 0) *flags = message.msg_flags;
  return result;
}

int LinuxKernel::RefuseFds(int fd) {
  const int off = 0;
  return OrErrno(setsockopt(fd, SOL_SOCKET, kPassRights, &off, sizeof(off)));
}

int LinuxKernel::HasRoomForFds(unsigned count) {
  // New fds get the lowest free numbers. If the highest `count` numbers are free, `count` fds can be opened.
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur < count) return 0;
  const auto last = std::min<rlim_t>(limit.rlim_cur, INT_MAX);
  std::vector<struct pollfd> numbers(count);
  for (unsigned i = 0; i < count; ++i) numbers[i].fd = static_cast<int>(last - 1 - i);
  const int closed = OrErrno(poll(numbers.data(), count, 0));
  if (closed < 0) return closed;
  const auto is_closed = [](const struct pollfd& number) { return (number.revents & POLLNVAL) != 0; };
  return std::ranges::all_of(numbers, is_closed) ? 1 : 0;
}

int LinuxKernel::Flock(int fd) { return OrErrno(flock(fd, LOCK_EX | LOCK_NB)); }

int LinuxKernel::PeerCredentials(int fd, struct ucred* out) {
  socklen_t length = sizeof(*out);
  return OrErrno(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &length));
}

int LinuxKernel::PeerGroups(int fd, gid_t* out, unsigned most) {
  socklen_t length = most * static_cast<socklen_t>(sizeof(*out));
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, out, &length) < 0) return -errno;
  return static_cast<int>(length / sizeof(*out));
}

int LinuxKernel::Unread(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? -errno : bytes;
}

int LinuxKernel::PidfdGetfd(int pid, int number) {
  const auto process = static_cast<int>(OrErrno(syscall(SYS_pidfd_open, pid, 0)));
  if (process < 0) return process;
  const auto copy = static_cast<int>(OrErrno(syscall(SYS_pidfd_getfd, process, number, 0)));
  close(process);
  return copy;
}

}  // namespace kernel
