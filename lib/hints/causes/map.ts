// Finds why memory cannot be mapped into an IOAS, or unmapped: the IOVAs, the memory, or the limit on pinned pages.
import { fstatSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../../addon/native';
import type { Arguments, Around } from '../../errors/around';
import { amount, hex } from './amounts';
import { attempt, text } from '../../kernel/look';
import { reservedRegions } from '../../pci/iommu-group';

const mostRanges = 8;

type AddressSpace = NonNullable<Around['ioas']>;
type Space = ReturnType<AddressSpace['iovaRanges']>;

/** Returns the first requirement on the IOVAs that is not met, in the kernel's order of checks. */
function badIovas(args: Arguments, { ranges, alignment }: Space, of: 'IOAS' | 'container'): string | undefined {
  const { iova, length = 0n } = args;
  for (const name of ['length', 'iova', 'offset'] as const) {
    const value = args[name];
    if (value === undefined || value % alignment === 0n) continue;
    return `${name} ${hex(value)} is not a multiple of the ${of}'s alignment, ${hex(alignment)}`;
  }
  if (iova === undefined || ranges.some(({ start, last }) => start <= iova && iova + length - 1n <= last))
    return undefined;
  const shown = ranges.slice(0, mostRanges).map(({ start, last }) => `${hex(start)}-${hex(last)}`);
  const more = ranges.length > mostRanges ? `, and ${ranges.length - mostRanges} more` : '';
  const joins = of === 'IOAS' ? 'attached device' : 'group';
  return (
    `IOVAs ${hex(iova)}-${hex(iova + length - 1n)} are not inside one of the ${of}'s usable ranges: ` +
    `${shown.join(', ')}${more}. They narrow with each ${joins}`
  );
}

/** EINVAL at map. */
export function badPlacement(args: Arguments, { ioas }: Around): string | undefined {
  if (!ioas || args.length === undefined) return undefined;
  return (
    badIovas(args, ioas.iovaRanges(), 'IOAS') ??
    badFile(args) ??
    (args.exporter === undefined ? undefined : 'this kernel maps memfds only: dma-bufs from Linux 6.19 on')
  );
}

/** EINVAL at map in a container. */
export function badPlacementInContainer(args: Arguments, { container }: Around): string | undefined {
  const info = attempt(() => container?.info());
  if (!info) return noIommuSet;
  const { iovaRanges: ranges, pageSizes } = info;
  return ranges && badIovas(args, { ranges, alignment: pageSizes[0] ?? native.pageSize }, 'container');
}

/** The hint for calls on a container that has no IOMMU. */
export const noIommuSet = 'the container has no IOMMU yet: put a group into it, and setIommu()';

/** EINVAL of calls on IOVA ranges of a container. */
export function notWholeInContainer(args: Arguments, around: Around): string | undefined {
  const info = attempt(() => around.container?.info());
  return info
    ? (notWhole(args, around) ??
        badIovas(args, { ranges: wholeSpace, alignment: info.pageSizes[0] ?? native.pageSize }, 'container'))
    : noIommuSet;
}

const wholeSpace = [{ start: 0n, last: 2n ** 64n - 1n }];

// TMPFS_MAGIC (memfds are on tmpfs) and HUGETLBFS_MAGIC of linux/magic.h.
const memory = [0x0102_1994, 0x9584_58f6];

function badFile({ fd, offset, length }: Arguments): string | undefined {
  if (fd === undefined || offset === undefined || length === undefined) return undefined;
  const type = attempt(() => statfsSync(`/proc/self/fd/${fd}`).type);
  if (type !== undefined && !memory.includes(type)) return 'the file is no memfd: only files of memory can be pinned';
  const size = attempt(() => fstatSync(fd, { bigint: true }).size);
  if (size === undefined || offset + length <= size) return undefined;
  return `offset plus length, ${hex(offset + length)}, reaches past the end of the memfd, ${hex(size)}`;
}

/** EEXIST at map. */
export function taken({ iova, length }: Arguments, { ioas, container }: Around): string | undefined {
  if (iova === undefined || length === undefined) return undefined;
  const mappings = (ioas ?? container)?.mappings;
  const other = mappings?.find((mapping) => mapping.iova < iova + length && iova < mapping.iova + mapping.length);
  if (!other) return undefined;
  return (
    `the mapping at IOVAs ${hex(other.iova)}-${hex(other.iova + other.length - 1n)} is in the way: close it, or leave iova ` +
    'out and let the kernel choose'
  );
}

/** ENOSPC at map. */
export function noRoom({ length }: Arguments, { ioas }: Around): string | undefined {
  if (!ioas || length === undefined) return undefined;
  const sizes = ioas.iovaRanges().ranges.map(({ start, last }) => last - start + 1n);
  const largest = sizes.reduce((a, b) => (a > b ? a : b), 0n);
  if (largest < length)
    return `the IOAS's largest usable range is ${hex(largest)} long: shorter than length ${hex(length)}`;
  return `the IOAS's mappings leave no hole for length ${hex(length)}`;
}

/** EOVERFLOW at map. */
export function tooFar({ iova, offset, length }: Arguments): string | undefined {
  const end = 1n << 64n;
  if (length === undefined) return undefined;
  if (iova !== undefined && iova + length >= end) return 'iova plus length must stay below 2^64';
  if (offset !== undefined && offset + length > end) return 'offset plus length does not fit 64 bits';
  return iova === undefined ? 'the kernel finds no room for lengths of 2^63 and more' : undefined;
}

/** ENODEV at map: the state of the device that exported the dma-buf, if this process exported it. */
export function revoked(_: Arguments, { dmaBuf }: Around): string | undefined {
  if (!dmaBuf?.exported) return undefined;
  return dmaBuf.exported.dead
    ? 'the dma-buf is dead: the device that exported it was closed. Open the device and export anew'
    : 'the dma-buf is revoked: its device has memory space off, is in low power, or in reset. Switch memory on ' +
        '(device.command.memory = true) and map again';
}

/** EOPNOTSUPP at map of a dma-buf. */
export function notImportable({ ranges, exporter }: Arguments): string | undefined {
  if (exporter === undefined || exporter === '') return undefined;
  if (exporter !== 'vfio_pci_core') {
    return `the dma-buf is from ${exporter}; IOMMUFD maps only those of vfio-pci. Host memory goes in with mapMemory()`;
  }
  return `the dma-buf has ${ranges ?? 'several'} ranges; IOMMUFD maps only single-range VFIO dma-bufs: export one per range`;
}

/** ENOENT at unmap. */
export function notWhole({ iova, length }: Arguments, { ioas, container }: Around): string | undefined {
  const mappings = (ioas ?? container)?.mappings;
  if (!mappings || iova === undefined || length === undefined) return undefined;
  const end = iova + length;
  const cut = mappings.find(
    (mapping) =>
      mapping.iova < end &&
      iova < mapping.iova + mapping.length &&
      (mapping.iova < iova || mapping.iova + mapping.length > end),
  );
  if (!cut) return undefined;
  return `the range cuts the mapping at IOVAs ${hex(cut.iova)}-${hex(cut.iova + cut.length - 1n)}: only whole mappings can be unmapped`;
}

/**
 * Whether the kernel limits the memory that this process pins. It does unless the process has CAP_IPC_LOCK in the
 * initial user namespace.
 */
function isCounted(status: string): boolean {
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const isFirst = /^\s*0\s+0\s+4294967295\s*$/.test(text('/proc/self/uid_map'));
  return !(isFirst && ((capabilities >> 14n) & 1n) === 1n); // CAP_IPC_LOCK
}

const outOfMemory = 'the kernel, or the memory cgroup of this process, has no memory left';

/** ENOMEM: whether pinning `length` more bytes exceeds RLIMIT_MEMLOCK. */
function memoryLimit(length: bigint, counter: 'VmPin' | 'VmLck' = 'VmPin'): string | undefined {
  const status = text('/proc/self/status');
  const limit = /^Max locked memory\s+(\w+)/m.exec(text('/proc/self/limits'))?.[1];
  if (limit === undefined) return undefined;
  if (limit === 'unlimited') return `${outOfMemory}: RLIMIT_MEMLOCK is not the cause, it is unlimited`;
  if (!isCounted(status)) return `${outOfMemory}: RLIMIT_MEMLOCK is not the cause, CAP_IPC_LOCK lifts it`;
  // iommufd counts pinned memory in VmPin. Type 1 counts it in VmLck, like mlock().
  const pinned = BigInt(new RegExp(`^${counter}:\\s*(\\d+) kB`, 'm').exec(status)?.[1] ?? '0') * 1024n;
  const needed = ((length + native.pageSize - 1n) / native.pageSize) * native.pageSize;
  const numbers =
    `RLIMIT_MEMLOCK is ${amount(BigInt(limit))}; this process has ${amount(pinned)} pinned, and this needs ` +
    amount(needed);
  return pinned + needed > BigInt(limit)
    ? `${numbers} more. Raise the limit to ${amount(pinned + needed)} or more (\`ulimit -l ${String((pinned + needed) / 1024n)}\`, ` +
        'LimitMEMLOCK= of a systemd service), or run with CAP_IPC_LOCK'
    : `${outOfMemory}. ${numbers}, which is within it unless other processes of this user have pinned the rest: they count together`;
}

/** Whether any process has attached a device to the IOAS. Only then is there an alignment, and is memory pinned. */
function isAttached(ioas: AddressSpace): boolean {
  return ioas.iovaRanges().alignment > 1n;
}

/** ENOMEM at map. */
export function overLimit({ length, exporter }: Arguments, { ioas }: Around): string | undefined {
  if (length === undefined) return undefined;
  // BARs are not pinned.
  return exporter !== undefined || (ioas && !isAttached(ioas)) ? outOfMemory : memoryLimit(length);
}

/** ENOMEM at map in a container. */
export function overLimitInContainer({ length, region }: Arguments): string | undefined {
  return length === undefined || region !== undefined ? undefined : memoryLimit(length, 'VmLck');
}

/** ENOMEM at attach: attaching the first device to an IOAS pins all its host memory. */
export function overLimitAtAttach(_: Arguments, { ioas }: Around): string | undefined {
  if (!ioas) return undefined;
  if (isAttached(ioas)) return outOfMemory;
  const lengths = ioas.mappings.filter(({ pinned }) => pinned).map(({ length }) => length);
  return lengths.length === 0 ? outOfMemory : memoryLimit(lengths.reduce((a, b) => a + b));
}

/** EADDRINUSE at attach. */
export function inTheWay({ device }: Arguments, { ioas, kernel }: Around): string | undefined {
  if (!ioas || !kernel || device === undefined) return undefined;
  const group = join(kernel.sysfs, 'bus/pci/devices', device, 'iommu_group');
  const regions = reservedRegions(group).filter(({ type }) => type !== 'direct-relaxable');
  for (const mapping of ioas.mappings) {
    const end = mapping.iova + mapping.length;
    const at = `the mapping at IOVAs ${hex(mapping.iova)}-${hex(end - 1n)}`;
    for (const { start, last, type } of regions) {
      if (mapping.iova > last || end <= start) continue;
      return `${at} lies in what this device reserves: ${hex(start)}-${hex(last)} (${type}). Map it elsewhere`;
    }
  }
  return undefined;
}

/** ENOMEM of mmap. */
export function noHugePages({ hugePages }: Arguments): string | undefined {
  return hugePages === undefined
    ? undefined
    : `not enough free huge pages of ${hugePages}B: reserve some in /sys/kernel/mm/hugepages`;
}
