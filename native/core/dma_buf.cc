// The ioctls of a dma-buf.
#include "core/dma_buf.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace core {

bool IsDmaBuf(const Fd& fd) {
  // Of a file that another process sent, fdinfo alone is told without a call that its file system can make wait.
  if (DmaBufFdinfo(fd).find("\nexp_name:") == std::string::npos) return false;
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
  do {  // EINTR and EAGAIN: the kernel's documentation asks for a retry
    result = fd.Ask(VFIO_DMABUF_REQUEST(DMA_BUF_IOCTL_SYNC), &command);
  } while (result == -EINTR || result == -EAGAIN);
  Check(result, "ioctl", "DMA_BUF_IOCTL_SYNC");
}

std::shared_ptr<Fd> DmaBufExportSyncFile(const Fd& fd, uint32_t flags) {
  uapi::dma_buf_export_sync_file command = {.flags = flags, .fd = -1};
  fd.Ioctl(VFIO_DMABUF_REQUEST(DMA_BUF_IOCTL_EXPORT_SYNC_FILE), &command);
  return std::make_shared<Fd>(fd.kernel(), command.fd);
}

void DmaBufImportSyncFile(const Fd& fd, const Fd& sync_file, uint32_t flags) {
  uapi::dma_buf_import_sync_file command = {.flags = flags, .fd = sync_file.number()};
  fd.Ioctl(VFIO_DMABUF_REQUEST(DMA_BUF_IOCTL_IMPORT_SYNC_FILE), &command);
}

std::shared_ptr<Mapping> MapDmaBuf(const std::shared_ptr<Fd>& fd, uint64_t offset, std::size_t length, bool writable) {
  const auto mapping = std::make_shared<Mapping>(fd, offset, length, PROT_READ | (writable ? PROT_WRITE : 0));
  mapping->ZeroOnBusError();
  return mapping;
}

}  // namespace core
