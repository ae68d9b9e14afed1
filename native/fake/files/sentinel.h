// Tells whether a file of the fake's is open anywhere: also by an fd that is on its way in a message, or by another
// process's.
#pragma once

namespace fake {

class Sentinel {
 public:
  // What this fd and its duplicates are open on. False: it cannot, for want of an fd.
  bool Watch(int fd);
  ~Sentinel();
  Sentinel() = default;
  Sentinel(Sentinel&& other) noexcept;
  Sentinel& operator=(Sentinel&& other) noexcept;

  bool watches() const { return own_ >= 0; }
  bool IsOpen() const;

 private:
  int own_ = -1;  // opened by itself: no duplicate of theirs
};

}  // namespace fake
