// What an event loop watches in place of a file of the fake kernel, which is a memfd and cannot be watched: an eventfd
// that is readable as long as the file is ready.
#pragma once

namespace fake {

class Readiness {
 public:
  Readiness() = default;
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;
  ~Readiness();

  // A new fd, the caller's, or a negated errno.
  int Watch(bool ready);
  // Does nothing while nobody has ever watched.
  void Set(bool ready);

 private:
  int eventfd_ = -1;
  bool ready_ = false;
};

}  // namespace fake
