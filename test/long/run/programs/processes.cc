// Children by fork(2), vfork(2) and exec, and threads.
#include <spawn.h>
#include <sys/wait.h>

#include <string>
#include <thread>
#include <vector>

#include "vfio.h"

extern char** environ;

static int Wait(pid_t child) {
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  return status;
}

int main(int count, char** arguments) {
  if (count > 1) {
    // After exec: a machine of its own, on which nothing is open.
    const Engine engine = OpenEngine();
    CHECK(Word(engine, 4) == 0);
    return 7;
  }
  Engine engine = OpenEngine();
  Word(engine, 4) = ~5U;
  auto* shared = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

  // The child has a copy of the machine.
  pid_t child = fork();
  if (child == 0) {
    CHECK(Word(engine, 4) == 5);
    Word(engine, 4) = ~6U;
    CHECK(Word(engine, 4) == 6);
    std::strcpy(shared, "from the child");
    CHECK(Map(engine, shared, 4096, 0x10000) == 0);
    Copy(engine, 0x10000, 0x10800, 64);
    close(engine.device);
    close(engine.iommufd);
    _exit(3);
  }
  CHECK(WEXITSTATUS(Wait(child)) == 3);
  CHECK(std::string(shared + 2048) == "from the child");
  CHECK(Word(engine, 4) == 5);  // nothing has changed here
  CHECK(Map(engine, shared, 4096, 0x10000) == 0);

  child = vfork();
  if (child == 0) {
    close(engine.device);
    execl("/proc/self/exe", arguments[0], "child", nullptr);
    _exit(1);
  }
  CHECK(WEXITSTATUS(Wait(child)) == 7);
  CHECK(Word(engine, 4) == 5);
  char* const child_arguments[] = {arguments[0], const_cast<char*>("child"), nullptr};
  CHECK(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, child_arguments, environ) == 0);
  CHECK(WEXITSTATUS(Wait(child)) == 7);

  // With an environment of its own.
  char* const empty[] = {nullptr};
  CHECK(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, child_arguments, empty) == 0);
  CHECK(WEXITSTATUS(Wait(child)) == 7);
  child = fork();
  if (child == 0) {
    execve("/proc/self/exe", child_arguments, empty);
    _exit(1);
  }
  CHECK(WEXITSTATUS(Wait(child)) == 7);

  // Threads use the machine while others fork.
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 3000; ++turn) {
        CHECK(Word(engine, 0) == 0x010000ed);
        const int fd = open("/dev/iommu", O_RDWR);
        CHECK(fd >= 0 && close(fd) == 0);
      }
    });
  }
  for (int turn = 0; turn < 200; ++turn) {
    child = fork();
    if (child == 0) {
      CHECK(Word(engine, 0) == 0x010000ed);
      const int fd = open("/dev/iommu", O_RDWR);
      _exit(fd >= 0 && close(fd) == 0 ? 3 : 1);
    }
    CHECK(WEXITSTATUS(Wait(child)) == 3);
  }
  for (auto& thread : threads) thread.join();
  std::puts("done");
}
