// Unix sockets over the kernel's calls.
#include "core/unix_socket.h"

#include <cerrno>

namespace core {
namespace {

// A result, or nullopt where the call would block.
std::optional<std::size_t> Moved(int64_t result, const char* syscall) {
  if (result == -EAGAIN) return std::nullopt;
  return static_cast<std::size_t>(Check(result, syscall));
}

}  // namespace

std::pair<SharedFd, SharedFd> SocketPair(const SharedKernel& kernel, int type) {
  int numbers[2];
  Check(kernel->SocketPair(type, numbers), "socketpair");
  return {std::make_shared<Fd>(kernel, numbers[0]), std::make_shared<Fd>(kernel, numbers[1])};
}

SharedFd ConnectSocket(const SharedKernel& kernel, const std::string& path, int type) {
  auto socket = std::make_shared<Fd>(kernel, Check(kernel->Socket(type), "socket"));
  Check(kernel->Connect(socket->number(), path.c_str()), "connect");
  return socket;
}

SharedFd ListenSocket(const SharedKernel& kernel, const std::string& path, int type, unsigned mode, int backlog) {
  auto socket = std::make_shared<Fd>(kernel, Check(kernel->Socket(type), "socket"));
  Check(kernel->Listen(socket->number(), path.c_str(), mode, backlog), "bind");
  return socket;
}

SharedFd AcceptSocket(const Fd& socket) {
  const auto number = Moved(socket.kernel()->Accept(socket.number()), "accept4");
  return number ? std::make_shared<Fd>(socket.kernel(), static_cast<int>(*number)) : nullptr;
}

std::optional<std::size_t> SendMessage(const Fd& socket, const void* bytes, std::size_t size,
                                       const std::vector<int>& fds) {
  const auto count = static_cast<unsigned>(fds.size());
  return Moved(socket.kernel()->Send(socket.number(), bytes, size, fds.data(), count), "sendmsg");
}

std::optional<Message> ReceiveMessage(const Fd& socket, std::size_t size) {
  Message message;
  message.bytes.resize(size);
  kernel::Received received;
  const auto moved = Moved(socket.kernel()->Receive(socket.number(), message.bytes.data(), size, &received), "recvmsg");
  if (!moved) return std::nullopt;
  message.fds.reserve(received.count);
  for (unsigned i = 0; i < received.count; ++i) {
    message.fds.push_back(std::make_shared<Fd>(socket.kernel(), received.fds[i]));
  }
  message.bytes.resize(*moved);
  message.cut = (received.flags & MSG_TRUNC) != 0;
  message.lost_fds = (received.flags & MSG_CTRUNC) != 0;
  return message;
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
  return std::make_shared<Fd>(std::move(kernel), copy);
}

}  // namespace core
