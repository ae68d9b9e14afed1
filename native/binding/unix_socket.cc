// Functions of Unix sockets that transfer fds.
#include "core/unix_socket.h"

#include "binding/addon.h"
#include "core/side_threads.h"

namespace binding {

template <>
inline constexpr const char* kHandleName<core::SlowReceive> = "slow receive";

template <>
Napi::Value ToJs(Napi::Env env, const std::pair<core::SharedFd, core::SharedFd>& sockets) {
  return ToJs(env, std::vector{sockets.first, sockets.second});
}

template <>
Napi::Value ToJs(Napi::Env env, const core::Message& message) {
  return Record(env)
      .Define("bytes", message.bytes)
      .Define("fds", message.fds)
      .Define("cut", message.cut)
      .Define("lostFds", message.lost_fds);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::Waiting& waiting) {
  return Record(env).Define("size", static_cast<double>(waiting.size)).Define("fds", waiting.fds);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::Peer& peer) {
  return Record(env)
      .Define("pid", peer.credentials.pid)
      .Define("uid", peer.credentials.uid)
      .Define("gid", peer.credentials.gid)
      .Define("groups", peer.groups);
}

namespace {

// socketSend(socket, Uint8Array, Int32Array of fds): number of bytes sent | undefined
std::optional<double> SocketSend(const core::Fd& socket, Napi::Uint8Array bytes, const std::vector<int>& fds) {
  return core::SendMessage(socket, bytes.Data(), bytes.ByteLength(), fds);
}

// socketReceive(socket, size): { bytes, fds: Fd[], cut, lostFds } | undefined
std::optional<core::Message> SocketReceive(const core::Fd& socket, uint32_t size) {
  return core::ReceiveMessage(socket, size);
}

// socketReceiveSlowly(socket, size): SlowReceive
std::shared_ptr<core::SlowReceive> SocketReceiveSlowly(const core::SharedFd& socket, uint32_t size) {
  return std::make_shared<core::SlowReceive>(socket, size);
}

// slowReceiveTake(slow): the result, as of socketReceive(). Call it when the receive is done.
Napi::Value SlowReceiveTake(const Napi::CallbackInfo& info) {
  Unwrap<core::SlowReceive>(info[0]);
  const auto slow = std::move(Unbox<core::SlowReceive>(info[0]));
  const auto message = slow->Take();
  core::SideThreads::Get().WaitBriefly();  // until the thread has released the socket
  return ToJs(info.Env(), message);
}

}  // namespace

void InitUnixSocket(Napi::Env env, Napi::Object exports) {
  Export<core::SocketPair>(env, exports, "socketPair");
  Export<core::ConnectSocket>(env, exports, "socketConnect");
  Export<core::ListenSocket>(env, exports, "socketListen");
  Export<core::AcceptSocket>(env, exports, "socketAccept");
  Export<SocketSend>(env, exports, "socketSend");
  Export<SocketReceive>(env, exports, "socketReceive");
  Export<core::HasRoomForFds>(env, exports, "socketHasRoom");
  Export<SocketReceiveSlowly>(env, exports, "socketReceiveSlowly");
  Export<&core::SlowReceive::Start>(env, exports, "slowReceiveStart");
  Export<&core::SlowReceive::ready>(env, exports, "slowReceiveReady");
  Export<SlowReceiveTake>(env, exports, "slowReceiveTake");
  Export<core::PeekMessage>(env, exports, "socketPeek");
  Export<core::RefuseFds>(env, exports, "socketRefuseFds");
  Export<core::PeerOf>(env, exports, "socketPeer");
  Export<core::UnreadOf>(env, exports, "socketUnread");
  Export<core::TakeFrom>(env, exports, "pidfdGetfd");
}

}  // namespace binding
