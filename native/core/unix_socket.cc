// Creates Unix sockets and sends and receives messages through a Kernel.
#include "core/unix_socket.h"

#include <cerrno>
#include <memory>
#include <new>

#include "core/side_threads.h"

namespace core {
namespace {

// The number of bytes, or nullopt if the call would block (EAGAIN). Throws a Failure for other errors.
std::optional<std::size_t> Moved(int64_t result, const char* syscall) {
  if (result == -EAGAIN) return std::nullopt;
  return static_cast<std::size_t>(Check(result, syscall));
}

}  // namespace

std::pair<SharedFd, SharedFd> SocketPair(const SharedKernel& kernel, int type) {
  int numbers[2];
  Check(kernel->SocketPair(type, numbers), "socketpair");
  return {ForeignFd(kernel, numbers[0]), ForeignFd(kernel, numbers[1])};
}

SharedFd ConnectSocket(const SharedKernel& kernel, const std::string& path, int type) {
  auto socket = ForeignFd(kernel, Check(kernel->Socket(type), "socket"));
  Check(kernel->Connect(socket->number(), path.c_str()), "connect");
  return socket;
}

SharedFd ListenSocket(const SharedKernel& kernel, const std::string& path, int type, unsigned mode, int backlog,
                      bool refuse_fds) {
  auto socket = ForeignFd(kernel, Check(kernel->Socket(type), "socket"));
  if (refuse_fds) RefuseFds(*socket);
  Check(kernel->Listen(socket->number(), path.c_str(), mode, backlog), "bind");
  return socket;
}

SharedFd AcceptSocket(const Fd& socket) {
  const auto number = Moved(socket.kernel()->Accept(socket.number()), "accept4");
  return number ? ForeignFd(socket.kernel(), static_cast<int>(*number)) : nullptr;
}

void RefuseFds(const Fd& socket) {
  const int result = socket.kernel()->RefuseFds(socket.number());
  if (result != -ENOPROTOOPT) Check(result, "setsockopt");
}

std::optional<std::size_t> SendMessage(const Fd& socket, const void* bytes, std::size_t size,
                                       const std::vector<int>& fds) {
  const auto count = static_cast<unsigned>(fds.size());
  return Moved(socket.kernel()->Send(socket.number(), bytes, size, fds.data(), count), "sendmsg");
}

bool HasRoomForFds(const Fd& socket) { return socket.kernel()->HasRoomForFds(kernel::Received::kMost) > 0; }

std::optional<Message> ReceiveMessage(const Fd& socket, std::size_t size) {
  Message message = {};
  // Not filled with zeros: `size` is the largest message, and most are short.
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[size]);
  kernel::Received received;
  const auto moved = Moved(socket.kernel()->Receive(socket.number(), bytes.get(), size, &received), "recvmsg");
  if (!moved) return std::nullopt;
  message.fds.reserve(received.count);
  for (unsigned i = 0; i < received.count; ++i) {
    message.fds.push_back(ForeignFd(socket.kernel(), received.fds[i]));
  }
  message.bytes.assign(bytes.get(), bytes.get() + *moved);
  message.cut = (received.flags & MSG_TRUNC) != 0;
  message.lost_fds = (received.flags & MSG_CTRUNC) != 0;
  return message;
}

SlowReceive::SlowReceive(SharedFd socket, std::size_t size)
    : socket_(std::move(socket)),
      size_(size),
      ready_(Fd::Eventfd(socket_->kernel(), 0)),
      outcome_(std::make_shared<Outcome>()) {}

void SlowReceive::Start() {
  if (!socket_) return;
  SideThreads::Get().Run([ready = ready_, outcome = outcome_, socket = std::move(socket_), size = size_] {
    try {
      outcome->message = ReceiveMessage(*socket, size);
    } catch (const Failure& failure) {
      outcome->failure = failure;
    } catch (const std::bad_alloc&) {
      outcome->failure = Failure{ENOMEM, "recvmsg"};
    }
    constexpr uint64_t kDone = 1;
    ready->kernel()->Write(ready->number(), &kDone, sizeof(kDone));
  });
}

std::optional<Message> SlowReceive::Take() {
  if (const auto& failure = outcome_->failure) throw Failure(*failure);
  return std::exchange(outcome_->message, std::nullopt);
}

std::optional<Waiting> PeekMessage(const Fd& socket) {
  int flags = 0;
  const auto size = Moved(socket.kernel()->Peek(socket.number(), &flags), "recvmsg");
  if (!size) return std::nullopt;
  return Waiting{*size, (flags & MSG_CTRUNC) != 0};
}

Peer PeerOf(const Fd& socket) {
  constexpr unsigned kMostGroups = 65536;  // NGROUPS_MAX
  Peer peer = {};
  Check(socket.kernel()->PeerCredentials(socket.number(), &peer.credentials), "getsockopt");
  peer.groups.resize(kMostGroups);
  const int count = socket.kernel()->PeerGroups(socket.number(), peer.groups.data(), kMostGroups);
  peer.groups.resize(static_cast<std::size_t>(Check(count, "getsockopt")));
  return peer;
}

int UnreadOf(const Fd& socket) { return Check(socket.kernel()->Unread(socket.number()), "ioctl", "SIOCOUTQ"); }

SharedFd TakeFrom(SharedKernel kernel, int pid, int number) {
  const int copy = Check(kernel->PidfdGetfd(pid, number), "pidfd_getfd");
  return ForeignFd(std::move(kernel), copy);
}

}  // namespace core
