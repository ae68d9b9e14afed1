// Watches an fd through the environment's event loop.
#include <poll.h>
#include <unistd.h>
#include <uv.h>

#include <utility>

#include "binding/addon.h"
#include "core/interrupts.h"
#include "kernel/non_copyable.h"

namespace binding {

// One watch of an fd. The object lives until the loop has closed its uv handle.
class Poll : public std::enable_shared_from_this<Poll>, private kernel::NonCopyable {
 public:
  Poll(std::shared_ptr<core::Fd> fd, int events, bool counts) : fd_(std::move(fd)), events_(events), counts_(counts) {}

  void Start(const Napi::Function& listener) {
    const Napi::Env env = listener.Env();
    int watched = events_;
    watched_ = std::make_shared<core::Fd>(fd_->kernel(),
                                          core::Check(fd_->kernel()->WatchFd(fd_->number(), &watched), "epoll_ctl"));
    uv_loop_t* loop = nullptr;
    NAPI_THROW_IF_FAILED_VOID(env, napi_get_uv_event_loop(env, &loop));
    CheckUv(uv_poll_init(loop, &handle_, watched_->number()));
    self_ = shared_from_this();
    handle_.data = this;
    const int started = uv_poll_start(&handle_, ToUv(watched), Ready);
    if (started < 0) {
      uv_close(reinterpret_cast<uv_handle_t*>(&handle_), Closed);
      closing_ = true;
      CheckUv(started);
    }
    env_ = env;
    listener_ = Napi::Persistent(listener);
    context_ = std::make_unique<Napi::AsyncContext>(env, "vfio-dmabuf:poll");
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* poll) { static_cast<Poll*>(poll)->Close(); }, this, &hook_);
  }

  void Close() {
    if (closing_ || !self_) return;
    closing_ = true;
    listener_.Reset();
    context_.reset();
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_), Closed);
    // uv_close() has removed the fd from the loop. The fds are released here and not in the close callback, because
    // some kernel objects cannot be destroyed while their fd is open.
    watched_.reset();
    fd_.reset();
  }

  void SetRef(bool keep_alive) {
    if (closing_ || !self_) return;
    auto* handle = reinterpret_cast<uv_handle_t*>(&handle_);
    keep_alive ? uv_ref(handle) : uv_unref(handle);
  }

 private:
  static void CheckUv(int status) { core::Check(status, "epoll_ctl"); }

  static int ToUv(int events) {
    return ((events & POLLIN) != 0 ? UV_READABLE : 0) | ((events & POLLOUT) != 0 ? UV_WRITABLE : 0) |
           ((events & POLLPRI) != 0 ? UV_PRIORITIZED : 0);
  }

  static void Ready(uv_poll_t* handle, int status, int) {
    const auto poll = static_cast<Poll*>(handle->data)->shared_from_this();
    int ready = 0;
    uint64_t count = 0;
    if (poll->counts_) {
      count = poll->Take(&ready);
    } else {
      // The loop reports the events of the watched fd. poll(2) on the file itself returns its events, and tells POLLERR
      // from POLLHUP.
      ready = poll->fd_->kernel()->Poll(poll->fd_->number(), poll->events_);
      if (ready < 0 || status < 0) ready = POLLERR;
    }
    if (ready == 0) return;
    const Napi::HandleScope scope(poll->env_);
    const Napi::Env env(poll->env_);
    try {
      napi_value value = nullptr;
      if (poll->counts_) {
        value = Napi::BigInt::New(env, count);
      } else {
        value = Napi::Number::New(env, ready);
      }
      poll->listener_.MakeCallback(env.Global(), {value}, *poll->context_);
    } catch (const Napi::Error&) {
      if (napi_value error = CaughtValue(env)) napi_fatal_exception(env, error);  // as in Node's EventEmitter
    }
  }

  // Reads the eventfd. `ready` is 0 if it has no count. After an error, returns 0: the listener reads the eventfd
  // itself and gets the error.
  uint64_t Take(int* ready) const {
    *ready = POLLIN;
    try {
      const uint64_t count = core::TakeCount(*fd_);
      if (count == 0) *ready = 0;
      return count;
    } catch (const core::Failure&) {
      return 0;
    }
  }

  static void Closed(uv_handle_t* handle) {
    const auto poll = std::exchange(static_cast<Poll*>(handle->data)->self_, nullptr);
    if (poll->hook_) napi_remove_async_cleanup_hook(poll->hook_);
  }

  std::shared_ptr<core::Fd> fd_;
  const int events_;
  const bool counts_;  // whether the fd is an eventfd, whose count the listener gets
  std::shared_ptr<core::Fd> watched_;
  std::shared_ptr<Poll> self_;  // set while the loop has the handle
  bool closing_ = false;
  uv_poll_t handle_ = {};
  napi_env env_ = nullptr;
  Napi::FunctionReference listener_;
  std::unique_ptr<Napi::AsyncContext> context_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

// Closes the poll when its handle is garbage collected.
struct PollOwner : private kernel::NonCopyable {
  std::shared_ptr<Poll> poll;
  explicit PollOwner(std::shared_ptr<Poll> owned) : poll(std::move(owned)) {}
  ~PollOwner() { poll->Close(); }  // NOLINT(bugprone-exception-escape): deleting an existing reference does not throw
};

template <>
inline constexpr const char* kHandleName<PollOwner> = "poll";

namespace {

// pollStart(fd, events, listener, counts): Poll. Calls the listener with the ready events of poll(2), repeatedly while
// there are any. POLLERR and POLLHUP are always reported. If `counts` is true, the fd is an eventfd: calls the listener
// with its count, or with 0n if it cannot be read.
Napi::Value PollStart(const Napi::CallbackInfo& info) {
  if (!info[2].IsFunction()) throw Napi::TypeError::New(info.Env(), "expected a function");
  const auto poll =
      std::make_shared<Poll>(Unwrap<core::Fd>(info[0]), static_cast<int>(ToU32(info[1])), info[3].ToBoolean());
  auto owner = std::make_shared<PollOwner>(poll);
  poll->Start(info[2].As<Napi::Function>());
  return Wrap(info.Env(), std::move(owner));
}

// pollRef(poll, keep): sets whether the poll keeps the process alive. A closed poll does not.
void PollRef(const Napi::CallbackInfo& info) {
  const auto& owner = Unbox<PollOwner>(info[0]);
  if (owner) owner->poll->SetRef(info[1].ToBoolean());
}

// pollClose(poll): the listener is no longer called. A second call does nothing.
void PollClose(const Napi::CallbackInfo& info) { Unbox<PollOwner>(info[0]).reset(); }

}  // namespace

void InitPoll(Napi::Env env, Napi::Object exports) {
  Export<PollStart>(env, exports, "pollStart");
  Export<PollRef>(env, exports, "pollRef");
  Export<PollClose>(env, exports, "pollClose");
}

}  // namespace binding
