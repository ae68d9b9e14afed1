#include "core/dma_buf.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "uapi/udmabuf.h"

namespace core {

bool IsDmaBuf(const Fd& fd) {
  return Check(fd.kernel()->FilesystemMagic(fd.number()), "fstatfs") == uapi::DMA_BUF_MAGIC;
}

uint64_t DmaBufSize(const Fd& fd) {
  return static_cast<uint64_t>(Check(fd.kernel()->Lseek(fd.number(), 0, SEEK_END), "lseek"));
}

void DmaBufSetName(const Fd& fd, const std::string& name) {
  fd.Ioctl(uapi::DMA_BUF_SET_NAME_B, "DMA_BUF_SET_NAME", const_cast<char*>(name.c_str()));
}

std::string DmaBufFdinfo(const Fd& fd) {
  std::string text(4096, '\0');
  text.resize(static_cast<std::size_t>(Check(fd.kernel()->Fdinfo(fd.number(), text.data(), text.size()), "read")));
  return text;
}

void DmaBufSync(const Fd& fd, uint64_t flags) {
  uapi::dma_buf_sync command = {.flags = flags};
  int result = 0;
  do {  // the interface asks for it: a signal, or an exporter that is not ready
    result = fd.Ask(VFIO_DMABUF_REQUEST(DMA_BUF_IOCTL_SYNC), &command);
  } while (result == -EINTR || result == -EAGAIN);
  Check(result, "ioctl", "DMA_BUF_IOCTL_SYNC");
}

std::shared_ptr<Fd> CreateUdmabuf(const Fd& memfd, uint64_t offset, uint64_t size) {
  const auto driver = Fd::Open(memfd.kernel(), "/dev/udmabuf", O_RDWR);
  uapi::udmabuf_create command = {.memfd = static_cast<uint32_t>(memfd.number()),
                                  .flags = uapi::UDMABUF_FLAGS_CLOEXEC,
                                  .offset = offset,
                                  .size = size};
  const int number = driver->Ioctl(VFIO_DMABUF_REQUEST(UDMABUF_CREATE), &command);
  return std::make_shared<Fd>(memfd.kernel(), number);
}

}  // namespace core
