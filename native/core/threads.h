// Threads for calls that may sleep without bound. Nobody joins them, so they keep no process from ending; a call that
// sleeps delays no other.
#pragma once

#include <memory>

namespace core {

class Job {
 public:
  virtual ~Job() = default;
  // What it touches it owns, or is never destroyed: it may still run when the process has begun to end.
  virtual void Run() = 0;
};

// Runs `job` on a thread that has nothing else to do. 0, or a negated errno: then it does not run.
int RunOnThread(std::unique_ptr<Job> job);

}  // namespace core
