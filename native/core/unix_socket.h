// Unix sockets that carry fds. None blocks: what would is told apart from what fails.
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
// nullptr: nobody is waiting.
SharedFd AcceptSocket(const Fd& socket);

// From now on the kernel takes no message with fds for this socket, or one that is accepted from it, where it can
// refuse them (SO_PASSRIGHTS, Linux 6.16): send(2) fails with EPERM.
void RefuseFds(const Fd& socket);

// The bytes sent, of a stream perhaps not all; nullopt: there is no room now.
std::optional<std::size_t> SendMessage(const Fd& socket, const void* bytes, std::size_t size,
                                       const std::vector<int>& fds);

struct Message {
  std::vector<uint8_t> bytes;
  std::vector<SharedFd> fds;
  bool cut;       // the message was longer
  bool lost_fds;  // there were more fds than could be given
};
// nullopt: nothing is there now. No bytes: the peer has closed, or of a packet socket, the message is empty.
std::optional<Message> ReceiveMessage(const Fd& socket, std::size_t size);

// Whether this process can open as many fds as a message can have. If not, ReceiveMessage() may wait: the kernel closes
// what has no room.
bool HasRoomForFds(const Fd& socket);

// ReceiveMessage() on a thread for calls that may wait.
class SlowReceive {
 public:
  SlowReceive(SharedFd socket, std::size_t size);
  // To be called once `ready` is watched: what comes may take every fd that this process can open. Again is no error.
  void Start();
  // An eventfd, readable when it is done.
  const SharedFd& ready() const { return ready_; }
  // As ReceiveMessage(), once it is done.
  std::optional<Message> Take();

 private:
  struct Outcome {
    std::optional<Message> message;
    std::optional<Failure> failure;
  };
  SharedFd socket_;  // until it is started
  std::size_t size_;
  SharedFd ready_;
  std::shared_ptr<Outcome> outcome_;
};

struct Waiting {
  std::size_t size;  // of a packet; of a stream, 1
  bool fds;          // it has fds
};
// The next message, which stays where it is. nullopt: nothing is there now. No bytes: as ReceiveMessage().
std::optional<Waiting> PeekMessage(const Fd& socket);

// Of whoever connected or listened, at that moment.
struct Peer {
  struct ucred credentials;
  std::vector<gid_t> groups;  // besides
};
Peer PeerOf(const Fd& socket);

// Bytes of memory that what was sent takes until the peer has read it.
int UnreadOf(const Fd& socket);

SharedFd TakeFrom(SharedKernel kernel, int pid, int number);

}  // namespace core
