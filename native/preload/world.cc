// Reads the machine's description, and follows fork(2) and the end of the process.
#include "preload/world.h"

#include <pthread.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernel/mutex.h"
#include "preload/faults.h"
#include "preload/names.h"
#include "preload/own_fds.h"
#include "preload/registers/trap_table.h"
#include "preload/watches.h"

namespace preload {
namespace {

// The fake kernel, whose fds are given to the program.
class ProgramKernel : public fake::FakeKernel {
 public:
  using FakeKernel::FakeKernel;

 protected:
  int InstallAs(int memfd, std::shared_ptr<fake::File> file) override
      VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) {
    const int given = GiveOwnFd(memfd);
    return given < 0 ? given : FakeKernel::InstallAs(given, std::move(file));
  }
};

struct World {
  std::string folder;
  std::array<std::string, 3> variables;
  int lock = -1;  // keeps the folder: `vfio-dmabuf run` has locked it with flock(2)
  std::atomic<pid_t> process = 0;
  kernel::Mutex creation;  // of the kernel
  std::atomic<fake::FakeKernel*> kernel = nullptr;
};

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value ? value : "";
}

// Removes the folder if this is the last process that uses it.
void Leave(World& world) {
  if (world.lock < 0 || getpid() != world.process) return;
  const kernel::OwnCalls own;
  close(world.lock);
  const int folder = open(world.folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::error_code ignored;
  if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0) std::filesystem::remove_all(world.folder, ignored);
  if (folder >= 0) close(folder);
}

World& TheWorld() {
  static World* world = [] {
    const kernel::OwnCalls own;
    auto* made = new World;
    made->process = getpid();
    made->folder = Environment("VFIO_DMABUF_RUN");
    const std::string lock = Environment("VFIO_DMABUF_RUN_LOCK");
    struct stat opened = {};
    struct stat folder = {};
    made->variables = {"LD_PRELOAD=" + Environment("LD_PRELOAD"), "VFIO_DMABUF_RUN=" + made->folder,
                       "VFIO_DMABUF_RUN_LOCK=" + lock};
    if (made->folder.empty() || lock.empty()) return made;
    made->lock = std::atoi(lock.c_str());
    if (fstat(made->lock, &opened) != 0 || stat(made->folder.c_str(), &folder) != 0 || opened.st_ino != folder.st_ino) {
      made->lock = -1;
    } else {
      AdoptOwnFd(made->lock);
    }
    return made;
  }();
  return *world;
}

// fork(2) copies this library while no other thread is in it. The locks are taken in the order in which calls take
// them. They are held from BeforeFork() on, in both processes, which the analysis of locks cannot follow.
VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void BeforeFork() {
  ++kernel::own_calls;
  TheWorld().creation.Acquire();
  LockWatches();
  if (auto* kernel = TheWorld().kernel.load()) kernel->BeforeFork();
  TrapTable::Get().BeforeFork();
  LockFaults();
}

VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void ReleaseOwn() {
  UnlockFaults();
  TrapTable::Get().AfterFork();
  UnlockWatches();
  TheWorld().creation.Release();
  --kernel::own_calls;
}

VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void AfterForkInParent() {
  if (auto* kernel = TheWorld().kernel.load()) kernel->AfterForkInParent();
  ReleaseOwn();
}

VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void AfterForkInChild() {
  TheWorld().process = getpid();
  if (auto* kernel = TheWorld().kernel.load()) kernel->AfterForkInChild();
  ReleaseOwn();
}

fake::FakeKernel* Create(World& world) {
  try {
    std::ifstream file(world.folder + "/machine");
    std::ostringstream text;
    text << file.rdbuf();
    return new ProgramKernel(fake::ReadMachine(text.str()));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "vfio-dmabuf run: the fake machine cannot be created: %s\n", error.what());
    return nullptr;
  }
}

// The first and the last code of this library.
__attribute__((constructor)) void Begin() {
  TheWorld();
  pthread_atfork(BeforeFork, AfterForkInParent, AfterForkInChild);
}
__attribute__((destructor)) void End() { Leave(TheWorld()); }

}  // namespace

const std::string& Folder() { return TheWorld().folder; }

const std::array<std::string, 3>& Variables() { return TheWorld().variables; }

fake::FakeKernel* KernelIfAny() { return TheWorld().kernel; }

fake::FakeKernel* Kernel() {
  World& world = TheWorld();
  const kernel::OwnCalls own;
  const kernel::Lock guard(world.creation);
  if (!world.kernel) world.kernel = Create(world);
  return world.kernel;
}

bool IsVforkChild() { return getpid() != TheWorld().process; }

}  // namespace preload
