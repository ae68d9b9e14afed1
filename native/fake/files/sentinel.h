// Tells whether a file of the fake is still open, including fds in messages and in other processes.
#pragma once

namespace fake {

class Sentinel {
 public:
  // Starts to watch the open file of `fd` and its duplicates. Returns false if no fd is free.
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
