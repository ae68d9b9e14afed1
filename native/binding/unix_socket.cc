// Functions of Unix sockets that transfer fds.
#include "core/unix_socket.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "core/side_threads.h"

namespace binding {

template <>
struct HandleType<core::SlowReceive> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e20, 0x9b1d7f3e20c64a20};
  static constexpr const char* kName = "slow receive";
};

namespace {

std::string ToText(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

// socketPair(kernel, type): [Fd, Fd]
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const auto type = static_cast<int>(ToU32(info[1]));
  auto [one, other] = core::SocketPair(kernel, type);
  List result(env);
  result.Append(Wrap(env, std::move(one)));
  result.Append(Wrap(env, std::move(other)));
  return result;
}

// socketConnect(kernel, path, type): Fd
Napi::Value SocketConnect(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const std::string path = ToText(info[1]);
  const auto type = static_cast<int>(ToU32(info[2]));
  return Wrap(info.Env(), core::ConnectSocket(kernel, path, type));
}

// socketListen(kernel, path, type, mode, backlog, refuseFds): Fd
Napi::Value SocketListen(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const std::string path = ToText(info[1]);
  const auto type = static_cast<int>(ToU32(info[2]));
  const uint32_t mode = ToU32(info[3]);
  const auto backlog = static_cast<int>(ToU32(info[4]));
  const bool refuse_fds = info[5].ToBoolean();
  return Wrap(info.Env(), core::ListenSocket(kernel, path, type, mode, backlog, refuse_fds));
}

// socketAccept(socket): Fd | undefined
Napi::Value SocketAccept(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  auto accepted = core::AcceptSocket(*socket);
  return accepted ? Wrap(info.Env(), std::move(accepted)) : info.Env().Undefined();
}

// socketSend(socket, Uint8Array, Int32Array of fds): number of bytes sent | undefined
Napi::Value SocketSend(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  const auto bytes = ToArray<Napi::Uint8Array>(info[1], napi_uint8_array);
  const auto numbers = ToArray<Napi::Int32Array>(info[2], napi_int32_array);
  const std::vector<int> fds(numbers.Data(), numbers.Data() + numbers.ElementLength());
  const auto moved = core::SendMessage(*socket, bytes.Data(), bytes.ByteLength(), fds);
  return moved ? Napi::Number::New(info.Env(), static_cast<double>(*moved)) : info.Env().Undefined();
}

Napi::Value FromMessage(Napi::Env env, std::optional<core::Message> message) {
  if (!message) return env.Undefined();
  List fds(env);
  for (auto& fd : message->fds) fds.Append(Wrap(env, std::move(fd)));
  Record result(env);
  result.Define("bytes", FromBytes(env, message->bytes));
  result.Define("fds", fds);
  result.Define("cut", message->cut);
  result.Define("lostFds", message->lost_fds);
  return result;
}

// socketReceive(socket, size): { bytes, fds: Fd[], cut, lostFds } | undefined
Napi::Value SocketReceive(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  const uint32_t size = ToU32(info[1]);
  return FromMessage(info.Env(), core::ReceiveMessage(*socket, size));
}

// socketHasRoom(socket): whether socketReceive() is sure not to block, whatever the message
Napi::Value SocketHasRoom(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  return Napi::Boolean::New(info.Env(), core::HasRoomForFds(*socket));
}

// socketReceiveSlowly(socket, size): SlowReceive
Napi::Value SocketReceiveSlowly(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  const uint32_t size = ToU32(info[1]);
  return Wrap(info.Env(), std::make_shared<core::SlowReceive>(socket, size));
}

// slowReceiveStart(slow): call it after slowReceiveReady()'s fd is watched
void SlowReceiveStart(const Napi::CallbackInfo& info) { Unwrap<core::SlowReceive>(info[0])->Start(); }

// slowReceiveReady(slow): Fd, readable when the receive is done
Napi::Value SlowReceiveReady(const Napi::CallbackInfo& info) {
  return Wrap(info.Env(), Unwrap<core::SlowReceive>(info[0])->ready());
}

// slowReceiveTake(slow): the result, as of socketReceive(). Call it when the receive is done.
Napi::Value SlowReceiveTake(const Napi::CallbackInfo& info) {
  Unwrap<core::SlowReceive>(info[0]);
  const auto slow = std::move(Unbox<core::SlowReceive>(info[0]));
  auto message = slow->Take();
  core::SideThreads::Get().WaitBriefly();  // until the thread has released the socket
  return FromMessage(info.Env(), std::move(message));
}

// socketPeek(socket): { size, fds } | undefined
Napi::Value SocketPeek(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  const auto waiting = core::PeekMessage(*socket);
  if (!waiting) return info.Env().Undefined();
  Record result(info.Env());
  result.Define("size", static_cast<double>(waiting->size));
  result.Define("fds", waiting->fds);
  return result;
}

// socketRefuseFds(socket)
void SocketRefuseFds(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  core::RefuseFds(*socket);
}

// socketPeer(socket): { pid, uid, gid, groups }
Napi::Value SocketPeer(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  const core::Peer peer = core::PeerOf(*socket);
  List groups(info.Env());
  for (const gid_t group : peer.groups) groups.Append(group);
  Record result(info.Env());
  result.Define("pid", peer.credentials.pid);
  result.Define("uid", peer.credentials.uid);
  result.Define("gid", peer.credentials.gid);
  result.Define("groups", groups);
  return result;
}

// socketUnread(socket): number of bytes
Napi::Value SocketUnread(const Napi::CallbackInfo& info) {
  const auto socket = Unwrap<core::Fd>(info[0]);
  return Napi::Number::New(info.Env(), core::UnreadOf(*socket));
}

// pidfdGetfd(kernel, pid, number): Fd
Napi::Value PidfdGetfd(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const auto pid = static_cast<int>(ToU32(info[1]));
  const auto number = static_cast<int>(ToU32(info[2]));
  return Wrap(info.Env(), core::TakeFrom(kernel, pid, number));
}

}  // namespace

void InitUnixSocket(Napi::Env env, Napi::Object exports) {
  Export<SocketPair>(env, exports, "socketPair");
  Export<SocketConnect>(env, exports, "socketConnect");
  Export<SocketListen>(env, exports, "socketListen");
  Export<SocketAccept>(env, exports, "socketAccept");
  Export<SocketSend>(env, exports, "socketSend");
  Export<SocketReceive>(env, exports, "socketReceive");
  Export<SocketHasRoom>(env, exports, "socketHasRoom");
  Export<SocketReceiveSlowly>(env, exports, "socketReceiveSlowly");
  Export<SlowReceiveStart>(env, exports, "slowReceiveStart");
  Export<SlowReceiveReady>(env, exports, "slowReceiveReady");
  Export<SlowReceiveTake>(env, exports, "slowReceiveTake");
  Export<SocketPeek>(env, exports, "socketPeek");
  Export<SocketRefuseFds>(env, exports, "socketRefuseFds");
  Export<SocketPeer>(env, exports, "socketPeer");
  Export<SocketUnread>(env, exports, "socketUnread");
  Export<PidfdGetfd>(env, exports, "pidfdGetfd");
}

}  // namespace binding
