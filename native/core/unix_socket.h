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
SharedFd ListenSocket(const SharedKernel& kernel, const std::string& path, int type, unsigned mode, int backlog);
// nullptr: nobody is waiting.
SharedFd AcceptSocket(const Fd& socket);

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
