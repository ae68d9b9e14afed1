// Finds why a dma-buf cannot be mapped for the CPU and why /dev/udmabuf cannot create one.
import { join } from 'node:path';
import { native } from '../../addon/native';
import type { Arguments, Around } from '../../errors/around';
import { amount } from './amounts';
import { text } from '../../kernel/look';

/** EINVAL of mmap on a dma-buf. */
export function bufferNotMapped({ offset }: Arguments, { dmaBuf }: Around): string | undefined {
  if (!dmaBuf) return undefined;
  if (offset !== undefined && offset % native.pageSize !== 0n) return 'the offset is not a multiple of the page size';
  return (
    `the exporter of this dma-buf, ${dmaBuf.exporterName}, lets no CPU map it; ` +
    "a device's BAR can be read, written and mapped through its region"
  );
}

/** EINVAL of UDMABUF_CREATE and UDMABUF_CREATE_LIST: a limit in the module's parameters. */
export function overUdmabufLimits({ ranges, size }: Arguments, { kernel }: Around): string | undefined {
  if (!kernel) return undefined;
  const parameter = (name: string) => {
    const path = join(kernel.sysfs, 'module/udmabuf/parameters', name);
    return { path, value: /^\d+$/.exec(text(path).trim())?.[0] };
  };
  const list = parameter('list_limit');
  if (ranges !== undefined && list.value !== undefined && ranges > Number(list.value)) {
    return `${String(ranges)} ranges, and the driver takes at most ${list.value} (${list.path}, which root can write)`;
  }
  const most = parameter('size_limit_mb');
  if (size !== undefined && most.value !== undefined && size > BigInt(most.value) << 20n) {
    return `${amount(size)}, and the driver makes dma-bufs of at most ${most.value} MiB (${most.path}, which root can write)`;
  }
  return undefined;
}
