// Signals eventfds and runs their actions, on a thread for signals that do not go through the fake kernel.
#include "fake/files/eventfd.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>

#include "kernel/own_calls.h"

namespace fake {
namespace {

constexpr unsigned kMostRounds = 16;  // limit for actions that signal each other's eventfds

uint64_t ReadInfo(const std::string& fd, const std::string& key) {
  std::ifstream file("/proc/self/fdinfo/" + fd);
  const int base = key == "eventfd-count" ? 16 : 10;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::strtoull(line.c_str() + key.size() + 1, nullptr, base);
  }
  return 0;
}

bool IsEventfd(int fd) {
  char path[64] = {};
  return readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof(path) - 1) > 0 &&
         std::string_view(path) == "anon_inode:[eventfd]";
}

}  // namespace

Eventfd::Eventfd(int owned) : fd_(owned), id_(ReadInfo(std::to_string(owned), "eventfd-id")) {}

Eventfd::~Eventfd() { close(fd_); }

int Eventfd::Take(int fd, std::shared_ptr<Eventfd>* out) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return -errno;
  if (!IsEventfd(copy)) {
    close(copy);
    return -EINVAL;
  }
  *out = std::make_shared<Eventfd>(copy);
  return 0;
}

void Eventfd::Signal() const {
  struct pollfd writable = {fd_, POLLOUT, 0};
  if (poll(&writable, 1, 0) == 1 && (writable.revents & POLLOUT) != 0) eventfd_write(fd_, 1);
}

bool Eventfd::Read() const {
  struct pollfd readable = {fd_, POLLIN, 0};
  eventfd_t count = 0;
  return poll(&readable, 1, 0) == 1 && (readable.revents & POLLIN) != 0 && eventfd_read(fd_, &count) == 0;
}

uint64_t Eventfd::Count() const { return ReadInfo(std::to_string(fd_), "eventfd-count"); }

bool Eventfd::Abandoned() const {
  bool found = false;
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return false;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != std::to_string(fd_) && ReadInfo(name, "eventfd-id") == id_ && IsEventfd(std::atoi(name.c_str()))) {
      found = true;
    }
  }
  closedir(folder);
  return !found;
}

EventfdAction::EventfdAction(std::shared_ptr<Eventfd> eventfd, std::function<void()> act, int epoll)
    : eventfd_(std::move(eventfd)), act_(std::move(act)), stale_(eventfd_->Count()) {
  MoveTo(epoll);
}

void EventfdAction::MoveTo(int epoll) {
  epoll_ = epoll;
  struct epoll_event event = {};
  event.events = EPOLLIN | EPOLLET;
  event.data.fd = eventfd_->fd();
  epoll_ctl(epoll_, EPOLL_CTL_ADD, eventfd_->fd(), &event);
}

EventfdAction::~EventfdAction() { epoll_ctl(epoll_, EPOLL_CTL_DEL, eventfd_->fd(), nullptr); }

bool EventfdAction::Signalled() {
  if (stale_ != 0 && eventfd_->Count() == stale_) return false;
  stale_ = 0;
  return eventfd_->Read();
}

EventfdActions::~EventfdActions() {
  if (thread_.joinable()) {
    eventfd_write(stop_, 1);
    thread_.join();
  }
  if (stop_ >= 0) close(stop_);
  if (epoll_ >= 0) close(epoll_);
}

int EventfdActions::Add(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out) {
  std::shared_ptr<Eventfd> eventfd;
  if (const int taken = Eventfd::Take(fd, &eventfd); taken != 0) return taken;
  if (epoll_ < 0) Start();
  *out = std::make_shared<EventfdAction>(eventfd, std::move(act), epoll_);
  std::erase_if(actions_, [](const auto& weak) { return weak.expired(); });
  actions_.push_back(*out);
  if (eventfd->Count() > 0) (*out)->Act();
  return 0;
}

void EventfdActions::Start() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  stop_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = stop_;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event);
  thread_ = std::thread([this] { Run(); });
}

void EventfdActions::Restart() {
  if (epoll_ < 0) return;
  new (&thread_) std::thread();  // not destroyed: the thread that it names does not exist in this process
  close(epoll_);
  close(stop_);
  Start();
  for (const auto& weak : actions_) {
    if (const auto action = weak.lock()) action->MoveTo(epoll_);
  }
}

void EventfdActions::Serve() {
  for (unsigned round = 0; round < kMostRounds; ++round) {
    std::vector<std::shared_ptr<EventfdAction>> live;  // an action may destroy other actions
    for (const auto& weak : actions_) {
      if (auto action = weak.lock()) live.push_back(std::move(action));
    }
    bool any = false;
    for (const auto& reader : live) {
      if (!reader->Signalled()) continue;
      any = true;
      for (const auto& action : live) {
        if (action->eventfd().SameAs(reader->eventfd()) && action.use_count() > 1) action->Act();
      }
    }
    if (!any) return;
  }
}

void EventfdActions::Run() {
  const kernel::OwnCalls own;
  for (;;) {
    struct epoll_event event = {};
    const int ready = epoll_wait(epoll_, &event, 1, -1);
    if (ready < 0 && errno != EINTR) return;
    if (ready == 1 && event.data.fd == stop_) return;
    const kernel::Lock guard(lock_);
    Serve();
  }
}

}  // namespace fake
