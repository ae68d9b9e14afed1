// Unix sockets that transfer fds. No call blocks: a call that would block returns nullopt or nullptr, and a call that
// fails throws.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/fd.h"

namespace core {

using SharedFd = std::shared_ptr<Fd>;
using SharedKernel = std::shared_ptr<kernel::Kernel>;

std::pair<SharedFd, SharedFd> SocketPair(const SharedKernel& kernel, int type);
SharedFd ConnectSocket(const SharedKernel& kernel, const std::string& path, int type);
SharedFd ListenSocket(const SharedKernel& kernel, const std::string& path, int type, unsigned mode, int backlog,
                      bool refuse_fds);
// nullptr: no connection is pending.
SharedFd AcceptSocket(const Fd& socket);

// Makes the kernel refuse messages with fds to this socket and to sockets that are accepted from it: the peer's send(2)
// fails with EPERM. Does nothing before Linux 6.16 (SO_PASSRIGHTS).
void RefuseFds(const Fd& socket);

// Returns the number of bytes sent, which may be less than `size` on a stream; nullopt: the socket's buffer is full.
std::optional<std::size_t> SendMessage(const Fd& socket, const void* bytes, std::size_t size,
                                       const std::vector<int>& fds);

struct Message {
  std::vector<uint8_t> bytes;
  std::vector<SharedFd> fds;
  bool cut;       // the message was longer than `size`
  bool lost_fds;  // the process could not open all fds of the message
};
// nullopt: no message is there. No bytes: the peer has closed the socket, or an empty message of a packet socket.
std::optional<Message> ReceiveMessage(const Fd& socket, std::size_t size);

// Whether this process can open as many fds as a message can have. If not, ReceiveMessage() may block, because the
// kernel closes the files for which there is no free fd.
bool HasRoomForFds(const Fd& socket);

// ReceiveMessage() on one of SideThreads.
class SlowReceive {
 public:
  SlowReceive(SharedFd socket, std::size_t size);
  // Call it after `ready` is watched: the received fds may be the last that this process can open. A second call does
  // nothing.
  void Start();
  // An eventfd that is readable when the receive is done.
  const SharedFd& ready() const { return ready_; }
  // The result, as of ReceiveMessage(). Call it when the receive is done.
  std::optional<Message> Take();

 private:
  struct Outcome {
    std::optional<Message> message;
    std::optional<Failure> failure;
  };
  SharedFd socket_;  // until Start()
  std::size_t size_;
  SharedFd ready_;
  std::shared_ptr<Outcome> outcome_;
};

struct Waiting {
  std::size_t size;  // of a packet; 1 for a stream
  bool fds;          // whether the message has fds
};
// The next message, which stays in the queue. nullopt and a size of 0: as for ReceiveMessage().
std::optional<Waiting> PeekMessage(const Fd& socket);

// The credentials that the peer process had when it called connect(2) or listen(2).
struct Peer {
  struct ucred credentials;
  std::vector<gid_t> groups;  // supplementary groups
};
Peer PeerOf(const Fd& socket);

// Bytes of kernel memory that sent messages use until the peer has read them (SIOCOUTQ).
int UnreadOf(const Fd& socket);

SharedFd TakeFrom(SharedKernel kernel, int pid, int number);

}  // namespace core
