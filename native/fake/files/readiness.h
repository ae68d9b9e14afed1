// An eventfd that is readable while a file of the fake kernel is ready. Event loops watch it, because the file itself
// is a memfd and cannot be watched.
#pragma once

#include "kernel/non_copyable.h"

namespace fake {

class Readiness : private kernel::NonCopyable {
 public:
  ~Readiness();

  // A new fd that the caller owns, or a negated errno.
  int Watch(bool ready);
  // Does nothing before the first Watch().
  void Set(bool ready);

 private:
  int eventfd_ = -1;
  bool ready_ = false;
};

}  // namespace fake
