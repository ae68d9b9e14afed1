// A dma-buf's own operations, and the one exporter of host memory that needs no device: /dev/udmabuf.
#pragma once

#include <memory>
#include <string>

#include "core/fd.h"
#include "uapi/dma_buf.h"

namespace core {

bool IsDmaBuf(const Fd& fd);
uint64_t DmaBufSize(const Fd& fd);
void DmaBufSetName(const Fd& fd, const std::string& name);
// fdinfo's text: size, count, exp_name and, if set, name, one "key:\tvalue" a line.
std::string DmaBufFdinfo(const Fd& fd);
void DmaBufSync(const Fd& fd, uint64_t flags);

// A dma-buf of `size` bytes at `offset` of a memfd that is sealed against shrinking.
std::shared_ptr<Fd> CreateUdmabuf(const Fd& memfd, uint64_t offset, uint64_t size);

}  // namespace core
