// poll(2), select(2) and epoll(7) for the files of the fake kernel.
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <vector>

#include "kernel/mutex.h"
#include "preload/names.h"
#include "preload/watches.h"
#include "preload/world.h"

namespace preload {
namespace {

// The fds that epoll instances watch in place of files, by the instance and the file's fd.
struct Watches {
  kernel::Mutex mutex;
  std::map<std::pair<int, int>, int> fds GUARDED_BY(mutex);
};

Watches& TheWatches() {
  static auto* watches = new Watches;  // never destroyed: threads may outlive static objects
  return *watches;
}

void CloseOwn(int fd) {
  const kernel::OwnCalls own;
  Run_close(fd);
}

// The fds to wait for in place of those of the fake kernel.
class Replaced {
 public:
  Replaced(struct pollfd* fds, nfds_t count) : fds_(fds), waited_(fds, fds + count) {
    for (std::size_t i = 0; i < waited_.size(); ++i) Replace(i);
  }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;
  ~Replaced() {
    for (const auto& [i, fd] : watches_) {
      if (fd >= 0) CloseOwn(fd);
    }
  }

  bool empty() const { return watches_.empty(); }
  // Whether a file is ready that cannot be watched: it is always ready.
  bool is_ready() const { return is_ready_; }
  struct pollfd* waited() { return waited_.data(); }
  // Puts the events into the caller's array, and returns the number of ready fds.
  int Finish() {
    for (std::size_t i = 0; i < waited_.size(); ++i) fds_[i].revents = waited_[i].revents;
    for (const auto& [i, watch] : watches_) {
      const int fd = fds_[i].fd;
      FakeCall fake(fd);
      const int ready = fake ? fake->Poll(fd, fds_[i].events) : POLLNVAL;
      fds_[i].revents = static_cast<short>(ready);
    }
    const auto is_ready = [](const struct pollfd& fd) { return fd.revents != 0; };
    return static_cast<int>(std::count_if(fds_, fds_ + waited_.size(), is_ready));
  }

 private:
  void Replace(std::size_t i) {
    const int fd = waited_[i].fd;
    if (fd < 0) return;
    FakeCall fake(fd);
    if (!fake) return;
    int events = waited_[i].events;
    const int watch = fake->WatchFd(fd, &events);
    is_ready_ = is_ready_ || fake->Poll(fd, fds_[i].events) != 0;
    watches_.emplace_back(i, watch);
    waited_[i].fd = watch < 0 ? -1 : watch;
    waited_[i].events = static_cast<short>(events);
  }

  struct pollfd* fds_;
  std::vector<struct pollfd> waited_;
  std::vector<std::pair<std::size_t, int>> watches_;  // index and fd
  bool is_ready_ = false;
};

bool Has(const fd_set* set, int fd) { return set && FD_ISSET(fd, set); }

}  // namespace

VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void LockWatches() { TheWatches().mutex.Acquire(); }
VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void UnlockWatches() { TheWatches().mutex.Release(); }

void ForgetWatches(int fd) {
  if (!KernelIfAny()) return;
  auto& watches = TheWatches();
  std::vector<int> closed;
  {
    const kernel::Lock guard(watches.mutex);
    std::erase_if(watches.fds, [&](const auto& entry) {
      const bool gone = entry.first.first == fd || entry.first.second == fd;
      if (gone) closed.push_back(entry.second);
      return gone;
    });
  }
  for (const int watch : closed) CloseOwn(watch);
}

int Run_ppoll(struct pollfd* fds, nfds_t count, const struct timespec* timeout, const sigset_t* mask) {
  if (IsOwnCall() || !KernelIfAny()) return TheReal().ppoll(fds, count, timeout, mask);
  Replaced replaced(fds, count);
  if (replaced.empty()) return TheReal().ppoll(fds, count, timeout, mask);
  constexpr struct timespec kNow = {};
  const int result = TheReal().ppoll(replaced.waited(), count, replaced.is_ready() ? &kNow : timeout, mask);
  return result < 0 ? result : replaced.Finish();
}

int Run_poll(struct pollfd* fds, nfds_t count, int timeout) {
  if (IsOwnCall() || !KernelIfAny()) return TheReal().poll(fds, count, timeout);
  const struct timespec limit = {timeout / 1000, timeout % 1000 * 1'000'000L};
  return Run_ppoll(fds, count, timeout < 0 ? nullptr : &limit, nullptr);
}

int Run_pselect(int count, fd_set* readable, fd_set* writable, fd_set* special, const struct timespec* timeout,
                const sigset_t* mask) {
  std::vector<struct pollfd> fds;
  bool any = false;
  for (int fd = 0; KernelIfAny() && !IsOwnCall() && fd < count; ++fd) {
    const int events =
        (Has(readable, fd) ? POLLIN : 0) | (Has(writable, fd) ? POLLOUT : 0) | (Has(special, fd) ? POLLPRI : 0);
    if (events == 0) continue;
    fds.push_back({fd, static_cast<short>(events), 0});
    if (FakeCall fake(fd); fake) any = true;
  }
  if (!any) return TheReal().pselect(count, readable, writable, special, timeout, mask);
  const int result = Run_ppoll(fds.data(), fds.size(), timeout, mask);
  if (result < 0) return result;
  int ready = 0;
  for (const auto& [fd, events, revents] : fds) {
    if ((revents & POLLNVAL) != 0) {
      errno = EBADF;
      return -1;
    }
    const auto keep = [&](fd_set* set, int wanted) {
      if (!Has(set, fd)) return;
      if ((revents & wanted) != 0) {
        ++ready;
      } else {
        FD_CLR(fd, set);
      }
    };
    keep(readable, POLLIN | POLLHUP | POLLERR);
    keep(writable, POLLOUT | POLLERR);
    keep(special, POLLPRI);
  }
  return ready;
}

int Run_select(int count, fd_set* readable, fd_set* writable, fd_set* special, struct timeval* timeout) {
  if (IsOwnCall() || !KernelIfAny()) return TheReal().select(count, readable, writable, special, timeout);
  struct timespec limit = {};
  if (timeout) limit = {timeout->tv_sec, timeout->tv_usec * 1000};
  return Run_pselect(count, readable, writable, special, timeout ? &limit : nullptr, nullptr);
}

int Run_epoll_ctl(int epoll, int operation, int fd, struct epoll_event* event) {
  if (IsOwnCall() || !KernelIfAny()) return TheReal().epoll_ctl(epoll, operation, fd, event);
  FakeCall fake(fd);
  if (!fake) return TheReal().epoll_ctl(epoll, operation, fd, event);
  auto& watches = TheWatches();
  const kernel::Lock guard(watches.mutex);
  const auto known = watches.fds.find({epoll, fd});
  if (operation == EPOLL_CTL_ADD ? known != watches.fds.end() : known == watches.fds.end()) {
    return fake.Return(operation == EPOLL_CTL_ADD ? -EEXIST : -ENOENT);
  }
  if (operation != EPOLL_CTL_ADD) {
    // The watched fd depends on the events. So a change removes it, and watches another one.
    TheReal().epoll_ctl(epoll, EPOLL_CTL_DEL, known->second, nullptr);
    CloseOwn(known->second);
    watches.fds.erase(known);
    if (operation == EPOLL_CTL_DEL) return 0;
  }
  if (!event) return fake.Return(-EFAULT);
  constexpr uint32_t kFlags = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP;
  int events = static_cast<int>(event->events & ~kFlags);
  const int watch = fake->WatchFd(fd, &events);
  if (watch < 0) return fake.Return(watch);
  struct epoll_event watched = *event;
  watched.events = static_cast<uint32_t>(events) | (event->events & kFlags);
  if (TheReal().epoll_ctl(epoll, EPOLL_CTL_ADD, watch, &watched) != 0) {
    const int error = -errno;
    CloseOwn(watch);
    return fake.Return(error);
  }
  watches.fds[{epoll, fd}] = watch;
  return 0;
}

}  // namespace preload
