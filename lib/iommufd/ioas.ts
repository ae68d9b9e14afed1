import { DmaBuf } from '../dmabuf/dma-buf';
import { DmaMemory } from '../dmabuf/dma-memory';
import { closedError, codedError, explain, kernelCall, kernelCallAsync, KernelError } from '../errors';
import { ioasWord, native, type FdHandle, type IoasHandle, type NativeIoas } from '../native';
import { accesses, instance, integer, oneOf, options, outOfRange, u64, u64Max, type Access } from '../validate';
import type { Iommufd } from './iommufd';
import { IoasMapping } from './mapping';

// linux/iommufd.h: IOMMU_IOAS_MAP_WRITEABLE, IOMMU_IOAS_MAP_READABLE
const accessFlags: Record<Access, bigint> = { r: 4n, w: 2n, rw: 6n };

/** Where a mapping goes, which part of the memory it shows, and what devices may do to it. */
export interface MapOptions {
  /** The IOVA: a multiple of the IOAS's alignment, in its usable ranges. The kernel chooses one if it is left out. */
  iova?: number | bigint | undefined;
  /** The first byte of the memory to map. Default 0. */
  offset?: number | bigint | undefined;
  /** How many bytes. Default: all from `offset` on. */
  length?: number | bigint | undefined;
  /** What devices may do. Default 'rw'. */
  access?: Access | undefined;
}

/** What an {@link Ioas} can map where. */
export interface IovaRanges {
  /** The usable IOVAs, `last` included, ascending. They narrow with every device that is attached. */
  ranges: { start: bigint; last: bigint }[];
  /** IOVAs and lengths must be multiples of this many bytes. */
  alignment: bigint;
}

/** Something attached to an IOAS. @internal */
export interface Attached {
  detachSync(): void;
}

/** An I/O address space: the addresses (IOVAs) that attached devices use for DMA, and what each leads to. */
export class Ioas {
  readonly iommufd: Iommufd;
  /** The object's number in its iommufd. */
  readonly id: number;
  /** Devices attached here. @internal */
  readonly attached = new Set<Attached>();
  readonly #handle: IoasHandle;
  readonly #hot: NativeIoas;
  readonly #mappings: IoasMapping[] = [];
  #closed = false;

  /** @internal */
  constructor(iommufd: Iommufd, handle: IoasHandle) {
    this.iommufd = iommufd;
    this.#handle = handle;
    this.id = native.ioasId(handle);
    this.#hot = native.ioasHot(handle);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The mappings that were made here and not unmapped. */
  get mappings(): IoasMapping[] {
    return [...this.#mappings];
  }

  /** @internal */
  get handle(): IoasHandle {
    if (this.#closed) throw closedError('IOAS');
    return this.#handle;
  }

  /**
   * Maps a dma-buf that VFIO exported, so that attached devices reach the exporter's BAR (IOMMU_IOAS_MAP_FILE). The
   * mapping holds the buffer itself. Nothing is charged to RLIMIT_MEMLOCK, and no peer-to-peer check is made.
   *
   * @throws KernelError EOPNOTSUPP: the buffer has several ranges, or is not VFIO's. ENODEV: revoked. EEXIST: the IOVAs
   *   are taken. ENOSPC: no room. EINVAL: misaligned, or IOVAs that are not usable. ENOTTY: a kernel before 6.13.
   *   RangeError: past the buffer's end. Error ERR_OTHER_KERNEL: a buffer of another kernel than the iommufd's.
   */
  mapDmaBuf(dmaBuf: DmaBuf, opts?: MapOptions): IoasMapping {
    const { size, kernel } = instance(dmaBuf, 'dmaBuf', DmaBuf);
    if (kernel !== this.iommufd.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const { iova, offset, length, access } = toPlacement(opts, size);
    const at = this.place(dmaBuf, offset, length, iova, access);
    const mapping = new IoasMapping(this, at, offset, length, access, dmaBuf);
    this.#remember(mapping);
    return mapping;
  }

  /** Puts a dma-buf into the table; returns the IOVA. @internal */
  place(dmaBuf: DmaBuf, offset: bigint, length: bigint, iova: bigint | undefined, access: bigint): bigint {
    if (this.#closed) throw closedError('IOAS');
    const { words, mapFd } = this.#hot;
    words[ioasWord.fd] = dmaBuf.fdWord;
    words[ioasWord.start] = offset;
    words[ioasWord.length] = length;
    words[ioasWord.iova] = iova ?? 0n;
    words[ioasWord.access] = access;
    words[ioasWord.fixed] = iova === undefined ? 0n : 1n;
    try {
      mapFd();
      return iova ?? words[ioasWord.iova] ?? 0n;
    } catch (error) {
      throw explain(error, {
        iova,
        offset,
        length,
        exporter: dmaBuf.exporterName,
        ranges: dmaBuf.record.ranges,
      });
    }
  }

  /** Takes a mapping out of the table. @internal */
  unplace(iova: bigint, length: bigint): void {
    if (this.#closed) throw closedError('IOAS');
    const { words, unmap } = this.#hot;
    words[ioasWord.iova] = iova;
    words[ioasWord.length] = length;
    try {
      unmap();
    } catch (error) {
      throw explain(error, { iova, length });
    }
  }

  #remember(mapping: IoasMapping): void {
    mapping.index = this.#mappings.push(mapping) - 1;
  }

  /** The last one takes the place of the one that goes: as fast for the first of a million as for one. @internal */
  forget(mapping: IoasMapping): void {
    const last = this.#mappings.pop();
    if (last === undefined || last === mapping) return;
    this.#mappings[mapping.index] = last;
    last.index = mapping.index;
  }

  /**
   * Maps host memory (IOMMU_IOAS_MAP). The pages are pinned, which takes time and is charged to RLIMIT_MEMLOCK. The
   * mapping holds the pages even after the memory is closed.
   *
   * @throws KernelError ENOMEM: over RLIMIT_MEMLOCK. EEXIST, ENOSPC, EINVAL: as for {@link mapDmaBuf}.
   */
  async mapMemory(memory: DmaMemory, opts?: MapOptions): Promise<IoasMapping> {
    const { args, finish } = this.#toMemory(memory, opts);
    return finish(await kernelCallAsync(args[0], () => native.ioasMap(...args[1], true)));
  }

  /** {@link mapMemory}, waiting. */
  mapMemorySync(memory: DmaMemory, opts?: MapOptions): IoasMapping {
    const { args, finish } = this.#toMemory(memory, opts);
    return finish(kernelCall(args[0], () => native.ioasMap(...args[1], false)));
  }

  #toMemory(memory: DmaMemory, opts?: MapOptions) {
    const placement = toPlacement(opts, BigInt(instance(memory, 'memory', DmaMemory).size));
    const { iova, offset, length, access } = placement;
    const call = [this.handle, memory.mapping, offset, length, iova, Number(access)] as const;
    return {
      args: [{ iova, offset, length }, call] as const,
      finish: (at: bigint) => this.#finish(at, placement),
    };
  }

  /**
   * Maps a memfd (IOMMU_IOAS_MAP_FILE), from Linux 6.13 on. The pages are pinned, as by {@link mapMemory}. The fd stays
   * the caller's and may be closed afterwards.
   *
   * @param fd the memfd's number; `length` must be given, in whole pages inside the file
   * @throws KernelError EBADF: not an open fd. EINVAL: not a memfd, or past its end. Error ERR_IS_DMA_BUF: an fd of a
   *   dma-buf (see {@link mapDmaBuf}). ENOTTY: a kernel before 6.13. The rest as for {@link mapMemory}.
   */
  async mapFile(fd: number, opts: MapOptions & { length: number | bigint }): Promise<IoasMapping> {
    const { args, file, finish } = this.#toFile(fd, opts);
    try {
      return finish(await kernelCallAsync(args[0], () => native.ioasMapFile(...args[1], true)));
    } finally {
      native.fdClose(file);
    }
  }

  /** {@link mapFile}, waiting. */
  mapFileSync(fd: number, opts: MapOptions & { length: number | bigint }): IoasMapping {
    const { args, file, finish } = this.#toFile(fd, opts);
    try {
      return finish(kernelCall(args[0], () => native.ioasMapFile(...args[1], false)));
    } finally {
      native.fdClose(file);
    }
  }

  #toFile(fd: number, opts: MapOptions) {
    integer(fd, 'fd', 0, 0x7fff_ffff);
    u64(options(opts).length, 'length', 1n);
    const placement = toPlacement(opts, u64Max);
    const { iova, offset, length, access } = placement;
    const ioas = this.handle;
    // A duplicate of our own: the caller may close the number, and it may become another file, while the call runs.
    const file: FdHandle = kernelCall({ fd }, () => native.fdDuplicate(this.iommufd.kernel.handle, fd));
    if (native.dmaBufIs(file)) {
      native.fdClose(file);
      throw codedError('ERR_IS_DMA_BUF', `fd ${String(fd)} is a dma-buf: mapDmaBuf(DmaBuf.fromFd(fd)) maps it`);
    }
    return {
      file,
      args: [{ fd, iova, offset, length }, [ioas, file, offset, length, iova, Number(access)] as const] as const,
      finish: (at: bigint) => this.#finish(at, placement),
    };
  }

  #finish(iova: bigint, { offset, length, access }: Placement): IoasMapping {
    const mapping = new IoasMapping(this, iova, offset, length, access);
    this.#remember(mapping);
    // Closed while the call was under way: the kernel object went with the last user, and the mapping with it.
    if (this.#closed) {
      mapping.gone();
      throw closedError('IOAS');
    }
    return mapping;
  }

  /**
   * Unmaps all mappings that lie wholly in the range; returns the bytes unmapped. Without arguments, everything.
   *
   * @throws KernelError ENOENT: nothing there, or the range cuts a mapping. What lay before the cut is unmapped then.
   */
  unmap(iova?: number | bigint, length?: number | bigint): bigint {
    const handle = this.handle;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? u64Max : u64(length, 'length', 1n);
    try {
      const unmapped = kernelCall({ iova: first, length: count }, () => native.ioasUnmap(handle, first, count));
      this.#dropWithin(first, first + count);
      return unmapped;
    } catch (error) {
      if (error instanceof KernelError && error.code === 'ENOENT') this.#dropWithin(first, first + count);
      throw error;
    }
  }

  /** The kernel unmaps in ascending order, up to the first mapping that the range cuts. */
  #dropWithin(start: bigint, end: bigint): void {
    const touched = this.#mappings
      .filter((mapping) => mapping.iova < end && mapping.iova + mapping.length > start)
      .sort((a, b) => (a.iova < b.iova ? -1 : 1));
    for (const mapping of touched) {
      if (mapping.iova < start || mapping.iova + mapping.length > end) return;
      mapping.gone();
    }
  }

  /** Which IOVAs can be used, and their alignment. Ask again after each attach and detach. */
  iovaRanges(): IovaRanges {
    return kernelCall({}, () => native.ioasIovaRanges(this.handle));
  }

  /** Unmaps everything, detaches the devices attached here, and destroys the IOAS. Also called destroy(). */
  close(): void {
    if (this.#closed) return;
    for (const device of [...this.attached]) device.detachSync();
    kernelCall({ ioas: this.id }, () => {
      native.ioasDestroy(this.#handle);
    });
    this.#closed = true;
    for (const mapping of [...this.#mappings]) mapping.gone();
    this.iommufd.forget(this);
  }

  /** {@link close}, by the kernel's name for it. */
  destroy(): void {
    this.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

interface Placement {
  iova: bigint | undefined;
  offset: bigint;
  length: bigint;
  access: bigint;
}

/** Checks map options against the memory's size. */
function toPlacement(opts: MapOptions | undefined, size: bigint): Placement {
  const { iova, offset: start, length: count, access } = options(opts);
  const offset = start === undefined ? 0n : u64(start, 'offset', 0n, size);
  if (count === undefined && offset === size) throw outOfRange('offset', 'before the end of the memory', start);
  return {
    iova: iova === undefined ? undefined : u64(iova, 'iova'),
    offset,
    length: count === undefined ? size - offset : u64(count, 'length', 1n, size - offset),
    access: accessFlags[access === undefined ? 'rw' : oneOf(access, 'access', accesses)],
  };
}
