// The calls that start a program with an environment of their own: it gets the variables without which it would not see
// the fake machine. They may be called in the child of vfork(2), and allocate no memory but the stack.
#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <string_view>

#include "preload/names.h"
#include "preload/world.h"

namespace preload {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"LD_PRELOAD=", "VFIO_DMABUF_RUN=", "VFIO_DMABUF_RUN_LOCK="};
constexpr std::size_t kMostVariables = 4096;  // a longer environment is passed on as it is

bool Has(char* const* environment, std::string_view name) {
  for (; *environment; ++environment) {
    if (std::strncmp(*environment, name.data(), name.size()) == 0) return true;
  }
  return false;
}

class WithVariables {
 public:
  explicit WithVariables(char* const* environment) : given_(environment) {
    const auto& own = Variables();
    std::size_t count = 0;
    while (environment && environment[count]) ++count;
    if (IsOwnCall() || Folder().empty() || !environment || count + kNames.size() >= kMostVariables) return;
    std::copy_n(environment, count, all_.begin());
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (!Has(environment, kNames.at(i))) all_.at(count++) = const_cast<char*>(own.at(i).c_str());
    }
    all_.at(count) = nullptr;
    given_ = all_.data();
  }
  char* const* get() const { return given_; }

 private:
  char* const* given_;
  std::array<char*, kMostVariables> all_;
};

}  // namespace

int Run_execve(const char* path, char* const* arguments, char* const* environment) {
  return TheReal().execve(path, arguments, WithVariables(environment).get());
}

int Run_execvpe(const char* file, char* const* arguments, char* const* environment) {
  return TheReal().execvpe(file, arguments, WithVariables(environment).get());
}

int Run_posix_spawn(pid_t* child, const char* path, const posix_spawn_file_actions_t* actions,
                    const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment) {
  return TheReal().posix_spawn(child, path, actions, attributes, arguments, WithVariables(environment).get());
}

int Run_posix_spawnp(pid_t* child, const char* file, const posix_spawn_file_actions_t* actions,
                     const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment) {
  return TheReal().posix_spawnp(child, file, actions, attributes, arguments, WithVariables(environment).get());
}

}  // namespace preload
