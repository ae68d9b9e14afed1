// Tells whether a file of the fake is open anywhere: also by an fd in a message, or in another process.
#pragma once

namespace fake {

class Sentinel {
 public:
  // Watches the file that this fd and its duplicates are open on. False: no fd is free.
  bool Watch(int fd);
  ~Sentinel();
  Sentinel() = default;
  Sentinel(Sentinel&& other) noexcept;
  Sentinel& operator=(Sentinel&& other) noexcept;

  bool watches() const { return own_ >= 0; }
  bool IsOpen() const;

 private:
  int own_ = -1;  // a separate open of the file, not a duplicate
};

}  // namespace fake
