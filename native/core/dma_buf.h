// A dma-buf's own operations.
#pragma once

#include <memory>
#include <string>

#include "core/fd.h"
#include "core/mapping.h"
#include "uapi/dma_buf.h"

namespace core {

bool IsDmaBuf(const Fd& fd);
uint64_t DmaBufSize(const Fd& fd);
void DmaBufSetName(const Fd& fd, const std::string& name);
// fdinfo's text: size, count, exp_name and, if set, name, one "key:\tvalue" a line.
std::string DmaBufFdinfo(const Fd& fd);
// START waits until the devices that were given the buffer are done with it.
void DmaBufSync(const Fd& fd, uint64_t flags);
// A sync file of what is under way on the buffer now. `flags`: DMA_BUF_SYNC_READ, to know when it can be read (the
// writers), or _WRITE (all).
std::shared_ptr<Fd> DmaBufExportSyncFile(const Fd& fd, uint32_t flags);
// Who uses the buffer from now on waits for the sync file's fences, too, which are of reading or writing, as `flags`
// say.
void DmaBufImportSyncFile(const Fd& fd, const Fd& sync_file, uint32_t flags);
// EINVAL: this exporter lets nobody map its buffers.
std::shared_ptr<Mapping> MapDmaBuf(const std::shared_ptr<Fd>& fd, uint64_t offset, std::size_t length, bool writable);

}  // namespace core
