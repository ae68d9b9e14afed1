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
// START waits for the fences of the devices that use the buffer.
void DmaBufSync(const Fd& fd, uint64_t flags);
// A sync file of the buffer's current fences. `flags`: DMA_BUF_SYNC_READ for those of writers (when the buffer can be
// read), or _WRITE for all.
std::shared_ptr<Fd> DmaBufExportSyncFile(const Fd& fd, uint32_t flags);
// Adds the sync file's fences to the buffer, as those of a reader or of a writer: `flags`. Later users wait for them.
void DmaBufImportSyncFile(const Fd& fd, const Fd& sync_file, uint32_t flags);
// EINVAL: this exporter has no mmap.
std::shared_ptr<Mapping> MapDmaBuf(const std::shared_ptr<Fd>& fd, uint64_t offset, std::size_t length, bool writable);

}  // namespace core
