// Eventfds that callers pass in. They are the real kernel's; here is what the fake does with them: signal them, and act
// when somebody signals them (fs/eventfd.c, drivers/vfio/virqfd.c).
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernel/mutex.h"

namespace fake {

// A share of an eventfd, which the caller's close does not end.
class Eventfd {
 public:
  // 0, or EBADF, or EINVAL for what is no eventfd.
  static int Take(int fd, std::shared_ptr<Eventfd>* out);
  explicit Eventfd(int owned);
  Eventfd(const Eventfd&) = delete;
  Eventfd& operator=(const Eventfd&) = delete;
  ~Eventfd();

  void Signal() const;
  // Whether it counted anything, which is taken.
  bool Read() const;
  uint64_t Count() const;  // without taking it
  // Whether the fd that was taken, and every duplicate of it in this process, is closed.
  bool Abandoned() const;
  bool SameAs(const Eventfd& other) const { return id_ == other.id_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  uint64_t id_;  // the kernel's
};

// What is to happen when an eventfd is signalled. It ends with this object.
class EventfdAction {
 public:
  EventfdAction(std::shared_ptr<Eventfd> eventfd, std::function<void()> act, int epoll);
  EventfdAction(const EventfdAction&) = delete;
  EventfdAction& operator=(const EventfdAction&) = delete;
  ~EventfdAction();

  // Acts, if it was signalled since the last time.
  const Eventfd& eventfd() const { return *eventfd_; }
  bool Signalled();
  void Act() const { act_(); }

 private:
  std::shared_ptr<Eventfd> eventfd_;
  std::function<void()> act_;
  int epoll_;
  uint64_t stale_;  // counted before there was this action, and not to be taken until more comes
};

// Acts at once on signals that are known to be there, and by a thread of its own on those of others. Called with the
// fake kernel's lock held, and holds it itself when the thread acts.
class EventfdActions {
 public:
  explicit EventfdActions(kernel::Mutex& lock) : lock_(lock) {}
  EventfdActions(const EventfdActions&) = delete;
  EventfdActions& operator=(const EventfdActions&) = delete;
  ~EventfdActions();

  // 0, or EBADF, or EINVAL for what is no eventfd. One that has counted something already acts at once.
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
