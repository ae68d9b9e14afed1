// Open files of the fake machine: duplicates, closing, waiting, sealing, sending, and reading by parts.
#include <linux/close_range.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <initializer_list>

#include "vfio.h"

static bool IsIommufd(int fd) {
  uapi::iommu_ioas_alloc alloc = {};
  alloc.size = sizeof(alloc);
  return ioctl(fd, uapi::IOMMU_IOAS_ALLOC, &alloc) == 0;
}

static void Duplicates() {
  const int fd = open("/dev/iommu", O_RDWR);
  const int first = dup(fd);
  const int second = fcntl(fd, F_DUPFD_CLOEXEC, 20);
  CHECK(second >= 20 && dup2(fd, 30) == 30 && dup3(fd, 31, O_CLOEXEC) == 31);
  CHECK(close(fd) == 0 && ioctl(fd, 0, nullptr) < 0 && errno == EBADF);
  for (const int copy : {first, second, 30, 31}) CHECK(IsIommufd(copy));
  const int null = open("/dev/null", O_RDWR);
  CHECK(dup2(null, first) == first && !IsIommufd(first));  // replaces the iommufd
  CHECK(close_range(20, 40, 0) == 0 && fcntl(30, F_GETFD) < 0);
  const int kept = open("/dev/iommu", O_RDWR);
  CHECK(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0 && fcntl(kept, F_GETFD) == FD_CLOEXEC && IsIommufd(kept));
  CHECK(fcntl(kept, F_GET_SEALS) < 0 && errno == EINVAL);
  // A group can be opened again when its last fd is closed.
  const int group = open("/dev/vfio/5", O_RDWR);
  CHECK(group >= 0 && open("/dev/vfio/5", O_RDWR) < 0 && errno == EBUSY);
  const int copy = dup(group);
  close(group);
  CHECK(open("/dev/vfio/5", O_RDWR) < 0);
  close(copy);
  const int again = open("/dev/vfio/5", O_RDWR);
  CHECK(again >= 0);
  close(again);
  // A daemon closes every number that there is. The machine's own files stay.
  for (int number = 3; number < 20000; ++number) close(number);
  const int after = open("/dev/iommu", O_RDWR);
  CHECK(after == 3 && IsIommufd(after));
  close(after);
}

static void Sent() {
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const int fd = open("/dev/iommu", O_RDWR);
  char byte = 0;
  iovec part = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  CHECK(sendmsg(pair[0], &message, 0) == 1);
  close(fd);
  CHECK(recvmsg(pair[1], &message, 0) == 1);
  int received = -1;
  std::memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(received));
  CHECK(IsIommufd(received));
  close(received);
}

static void Waiting(const Engine& engine) {
  // A dma-buf without fences is ready.
  const int buffers = open("/dev/dma_heap/system", O_RDWR);
  struct {
    uint64_t length;
    uint32_t fd, flags;
    uint64_t heap_flags;
  } alloc = {4096, 0, O_RDWR | O_CLOEXEC, 0};
  CHECK(ioctl(buffers, 0xc0184800, &alloc) == 0);
  const int buffer = static_cast<int>(alloc.fd);
  int idle[2];
  CHECK(pipe(idle) == 0);
  pollfd fds[2] = {{idle[0], POLLIN, 0}, {buffer, POLLIN | POLLOUT, 0}};
  CHECK(poll(fds, 2, -1) == 1 && fds[0].revents == 0 && fds[1].revents == (POLLIN | POLLOUT));
  timespec limit = {1, 0};
  CHECK(ppoll(fds, 2, &limit, nullptr) == 1);
  fd_set readable;
  FD_ZERO(&readable);
  FD_SET(buffer, &readable);
  FD_SET(idle[0], &readable);
  CHECK(select(64, &readable, nullptr, nullptr, nullptr) == 1 && FD_ISSET(buffer, &readable));
  const int epoll = epoll_create1(0);
  epoll_event event = {.events = EPOLLIN, .data = {.u64 = 77}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, buffer, &event) == 0);
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, buffer, &event) < 0 && errno == EEXIST);
  epoll_event got = {};
  CHECK(epoll_wait(epoll, &got, 1, 1000) == 1 && got.data.u64 == 77);
  event.data.u64 = 78;
  CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, buffer, &event) == 0 && epoll_wait(epoll, &got, 1, 1000) == 1 &&
        got.data.u64 == 78);
  CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, buffer, nullptr) == 0 && epoll_wait(epoll, &got, 1, 0) == 0);
  CHECK(lseek(buffer, 0, SEEK_END) == 4096 && lseek64(buffer, 0, SEEK_SET) == 0);
  auto* bytes = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0));
  CHECK(bytes != MAP_FAILED);
  bytes[5] = 6;
  CHECK(munmap(bytes, 4096) == 0);
  // An iommufd is always ready, and epoll does not take it.
  pollfd iommufd = {engine.iommufd, POLLIN, 0};
  CHECK(poll(&iommufd, 1, -1) == 1);
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, engine.iommufd, &event) < 0 && errno == EPERM);
}

static void Parts(const Engine& engine) {
  uint16_t vendor = 0;
  uint16_t device = 0;
  iovec parts[2] = {{&vendor, 2}, {&device, 2}};
  CHECK(preadv(engine.device, parts, 2, kConfig) == 4 && vendor == 0x1234 && device == 0x11e8);
  uint16_t command = 0x2;
  iovec one = {&command, 2};
  CHECK(pwritev(engine.device, &one, 1, kConfig + 4) == 2);
  CHECK(pread(engine.device, &command, 2, kConfig + 4) == 2 && (command & 6) == 2);
  errno = 0;
  CHECK(pread(engine.device, &command, 2, uint64_t{60} << 40) < 0 && errno == EINVAL);
}

int main() {
  Duplicates();
  Sent();
  const Engine engine = OpenEngine();
  Waiting(engine);
  Parts(engine);
  std::puts("done");
}
