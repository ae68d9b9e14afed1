// Functions of `vfio-dmabuf run`: the folder of a fake machine that outlives this program, and the program that takes
// this one's place.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "binding/addon.h"
#include "binding/call.h"
#include "core/failure.h"
#include "fake/host/sysfs_folder.h"

namespace binding {
namespace {

// The number of the fd that the program inherits: a high one, which it does not use, where the limit allows it.
int DupHigh(int fd) {
  int copy = -1;
  for (const int first : {1000, 100, 10}) {
    if (copy < 0) copy = fcntl(fd, F_DUPFD, first);
  }
  return copy;
}

// Strings that each end with a NUL.
std::vector<std::string> ToStrings(const std::string& text) {
  std::vector<std::string> strings;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\0', start), text.size());
    strings.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return strings;
}

std::vector<char*> ToPointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (auto& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// runFolder(parent): { root, lock }, a new folder that is removed when this process ends, unless a program takes its
// place, and the fd that keeps it.
Napi::Value RunFolder(const Napi::CallbackInfo& info) {
  try {
    const auto* folder = new fake::SysfsFolder(info[0].ToString());  // removed at the end of the process
    const int lock = DupHigh(folder->lock());
    if (lock < 0) throw core::Failure{errno, "fcntl", nullptr};
    Record result(info.Env());
    result.Define("root", folder->root());
    result.Define("lock", static_cast<double>(lock));
    return result;
  } catch (const std::system_error& error) {
    throw core::Failure{error.code().value(), "mkdtemp", nullptr};
  }
}

// runLibrary(): the path of the preload library, which is next to the addon; undefined: the C library is not glibc
Napi::Value RunLibrary(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
  Dl_info here = {};
  if (dladdr(reinterpret_cast<void*>(&RunLibrary), &here) == 0) return info.Env().Undefined();
  std::string path = here.dli_fname;
  path.erase(path.rfind('/') + 1);
  return Napi::String::New(info.Env(), path + "vfio_dmabuf_run.so");
#else
  return info.Env().Undefined();
#endif
}

// runProgram(path, arguments, environment): does not return. The arguments and the variables each end with a NUL. The
// program gets back what Node has changed: the dispositions of signals, and standard input and output.
void RunProgram(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString();
  auto arguments = ToStrings(info[1].ToString());
  auto environment = ToStrings(info[2].ToString());
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  for (const int signal : {SIGPIPE, SIGXFSZ}) sigaction(signal, &by_default, nullptr);
  for (const int fd : {0, 1, 2}) fcntl(fd, F_SETFD, 0);  // Node makes them close-on-exec
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(path.c_str(), ToPointers(arguments).data(), ToPointers(environment).data());
  throw core::Failure{errno, "execve", nullptr};
}

}  // namespace

void InitRun(Napi::Env env, Napi::Object exports) {
  Export<RunFolder>(env, exports, "runFolder");
  Export<RunLibrary>(env, exports, "runLibrary");
  Export<RunProgram>(env, exports, "runProgram");
}

}  // namespace binding
