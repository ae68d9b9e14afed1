// The real eventfds that callers pass to the fake: the fake signals them, and runs actions when they are signaled
// (fs/eventfd.c, drivers/vfio/virqfd.c).
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernel/mutex.h"
#include "kernel/non_copyable.h"

namespace fake {

// A duplicate of an eventfd. It stays open when the caller closes the fd.
class Eventfd : private kernel::NonCopyable {
 public:
  // Duplicates `fd`. -EBADF: it is not open. -EINVAL: it is not an eventfd.
  static int Take(int fd, std::shared_ptr<Eventfd>* out);
  explicit Eventfd(int owned);
  ~Eventfd();

  void Signal() const;
  // Sets the count to 0. Returns whether it was not 0.
  bool Read() const;
  uint64_t Count() const;  // without changing it
  // Whether this process has closed the duplicated fd and all other duplicates of it.
  bool Abandoned() const;
  bool SameAs(const Eventfd& other) const { return id_ == other.id_; }
  int fd() const { return fd_; }

 private:
  int fd_;
  uint64_t id_;  // the kernel's eventfd-id
};

// A function that is called when an eventfd is signaled, as long as this object exists.
class EventfdAction : private kernel::NonCopyable {
 public:
  EventfdAction(std::shared_ptr<Eventfd> eventfd, std::function<void()> act, int epoll);
  ~EventfdAction();

  const Eventfd& eventfd() const { return *eventfd_; }
  // Whether the eventfd was signaled since the last call.
  bool Signalled();
  void Act() const { act_(); }
  // Waits on another epoll instance.
  void MoveTo(int epoll);

 private:
  std::shared_ptr<Eventfd> eventfd_;
  std::function<void()> act_;
  int epoll_;
  uint64_t stale_;  // the count when this action was created; the eventfd is not read until its count changes
};

// Runs actions: at once after a write through the fake kernel, and on a thread after any other signal. The caller must
// hold the fake kernel's lock; the thread acquires it.
class EventfdActions : private kernel::NonCopyable {
 public:
  explicit EventfdActions(kernel::Mutex& lock) : lock_(lock) {}
  ~EventfdActions();

  // Adds an action. If the count is not 0, the action runs at once. -EBADF, -EINVAL: as Eventfd::Take().
  int Add(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out);
  void Serve();
  // In the child of fork(2), which does not have the thread, and shares the epoll instance with its parent.
  void Restart();

 private:
  void Start();
  void Run();

  kernel::Mutex& lock_;
  std::vector<std::weak_ptr<EventfdAction>> actions_;
  int epoll_ = -1;
  int stop_ = -1;
  std::thread thread_;
};

}  // namespace fake
