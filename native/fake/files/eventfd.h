// The real kernel's eventfds that callers pass in: the fake signals them, and acts when they are signalled
// (fs/eventfd.c, drivers/vfio/virqfd.c).
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernel/mutex.h"

namespace fake {

// A duplicate of an eventfd, which stays open when the caller closes the fd.
class Eventfd {
 public:
  // 0, or EBADF, or EINVAL for what is no eventfd.
  static int Take(int fd, std::shared_ptr<Eventfd>* out);
  explicit Eventfd(int owned);
  Eventfd(const Eventfd&) = delete;
  Eventfd& operator=(const Eventfd&) = delete;
  ~Eventfd();

  void Signal() const;
  // Whether its count was not 0. Sets it to 0.
  bool Read() const;
  uint64_t Count() const;  // leaves the count
  // Whether the fd that was taken, and every duplicate of it in this process, is closed.
  bool Abandoned() const;
  bool SameAs(const Eventfd& other) const { return id_ == other.id_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  uint64_t id_;  // the kernel's
};

// A function that is called when an eventfd is signalled, while this object exists.
class EventfdAction {
 public:
  EventfdAction(std::shared_ptr<Eventfd> eventfd, std::function<void()> act, int epoll);
  EventfdAction(const EventfdAction&) = delete;
  EventfdAction& operator=(const EventfdAction&) = delete;
  ~EventfdAction();

  // Whether it was signalled since the last call.
  const Eventfd& eventfd() const { return *eventfd_; }
  bool Signalled();
  void Act() const { act_(); }

 private:
  std::shared_ptr<Eventfd> eventfd_;
  std::function<void()> act_;
  int epoll_;
  uint64_t stale_;  // the count before this action existed; it is not read until the count grows
};

// Runs actions: at once after a write through the fake kernel, and on a thread for signals from elsewhere. The caller
// holds the fake kernel's lock; the thread takes it.
class EventfdActions {
 public:
  explicit EventfdActions(kernel::Mutex& lock) : lock_(lock) {}
  EventfdActions(const EventfdActions&) = delete;
  EventfdActions& operator=(const EventfdActions&) = delete;
  ~EventfdActions();

  // 0, or EBADF, or EINVAL for what is no eventfd. If the count is not 0, the action runs at once.
  int Add(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out);
  void Serve();

 private:
  void Run();

  kernel::Mutex& lock_;
  std::vector<std::weak_ptr<EventfdAction>> actions_;
  int epoll_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

}  // namespace fake
