// A dma-buf: memory that any device can be given, held by a file descriptor.
import { types } from 'node:util';
import { toKernel } from '../kernel/default-kernel';
import { closedError, codedError, explain, kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { pollEvents } from '../events/poll';
import { followSubscribers } from '../addon/trace';
import {
  accesses,
  instance,
  integer,
  invalidType,
  oneOf,
  options,
  outOfRange,
  string,
  u64,
  type Access,
} from '../errors/validate';
import { Exported } from './exported';
import { MappedDmaBuf } from './mapped-dma-buf';
import { SyncFile } from './sync-file';
import { createUdmabuf, type MemoryRange } from './udmabuf';
import { toSignal, Waits, type WaitOptions } from '../events/waits';

// linux/dma-buf.h
const syncRead = 1;
const syncWrite = 2;
const syncEnd = 4;
const nameLength = 31;
const syncFlags: Record<Access, number> = { r: syncRead, w: syncWrite, rw: syncRead | syncWrite };
// Reading waits for those who write; writing waits for all.
const idleEvents: Record<Access, number> = {
  r: pollEvents.readable,
  w: pollEvents.writable,
  rw: pollEvents.writable,
};

/** What {@link DmaBuf.map} maps. */
export interface MapBufferOptions {
  /** In bytes from the buffer's start: a multiple of the page size. 0 unless told. */
  offset?: number | bigint;
  /** In bytes. Up to the end unless told. */
  length?: number | bigint;
  /** 'rw' unless told. */
  access?: 'r' | 'rw';
}

/**
 * A dma-buf: a piece of memory that any device can be given, held by a file descriptor.
 *
 * It comes from {@link VfioDevice.exportDmaBuf}, from host memory ({@link DmaMemory.exportDmaBuf},
 * {@link DmaBuf.fromMemory}, {@link DmaHeap.alloc}), or, with {@link DmaBuf.fromFd}, from anybody.
 */
export class DmaBuf extends Closable {
  readonly kernel: Kernel;
  /** In bytes: the sum of the ranges. */
  readonly size: bigint;
  /** Identifies the buffer across duplicated and passed-on file descriptors. Never used again by another. */
  readonly inode: bigint;
  readonly #handle: FdHandle;
  readonly #word: bigint;
  /** null: not looked for yet. */
  #exported: Exported | undefined | null = null;
  #syncNow: ((flags: number) => void) | undefined;
  /** cpuAccess() calls that have not ended: the fd stays open for them. */
  #accesses = 0;
  readonly #waits = new Waits();
  readonly #mapped = new Set<MappedDmaBuf>();
  static readonly #end: End<DmaBuf> = {
    what: 'dma-buf',
    children: (buffer) => buffer.#mapped,
    close: (buffer) => {
      buffer.#waits.reject(closedError('dma-buf'));
      if (buffer.#accesses === 0) native.fdClose(buffer.#handle, false);
    },
  };

  /** Takes the fd over, also when it throws. `size`: if it is known. @internal */
  constructor(kernel: Kernel, handle: FdHandle, size?: bigint) {
    const facts = factsOf(handle, size);
    super(DmaBuf.#end);
    this.kernel = kernel;
    this.#handle = handle;
    this.#word = BigInt(native.fdNumber(handle));
    this.inode = facts.inode;
    this.size = facts.size;
  }

  /**
   * A dma-buf that somebody else made. The fd is duplicated: the caller's own stays open and the caller's.
   *
   * @throws KernelError EBADF: not an open fd. Error ERR_NOT_DMA_BUF: an fd of something else.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): DmaBuf {
    const kernel = toKernel(options(opts).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    const handle = kernelCall({ fd }, () => native.fdDuplicate(kernel.handle, fd));
    try {
      if (!kernelCall({ fd }, () => native.dmaBufIs(handle))) {
        throw codedError('ERR_NOT_DMA_BUF', `fd ${String(fd)} is not a dma-buf`);
      }
    } catch (error) {
      native.fdSetForeign(handle);
      native.fdClose(handle, false);
      throw error;
    }
    const dmaBuf = new DmaBuf(kernel, handle);
    try {
      // Now, as whoever else knows it in this process may close it.
      dmaBuf.#exported = kernelCall({ fd }, () => Exported.find(handle));
    } catch (error) {
      dmaBuf.close();
      throw error;
    }
    return dmaBuf;
  }

  /**
   * One dma-buf of several ranges of host memory, in this order, made by /dev/udmabuf (UDMABUF_CREATE_LIST). It shares the
   * pages, keeps them and outlives their owners. IOMMUFD does not map such dma-bufs; other importers do.
   *
   * @throws KernelError ENOENT: no udmabuf driver. EINVAL: not page aligned, past a memory's end, over the driver's
   * limits, or sealed otherwise than F_SEAL_SHRINK and not against writing. EBADFD: no memfd.
   */
  static fromMemory(ranges: readonly MemoryRange[], opts?: { kernel?: Kernel }): DmaBuf {
    const kernel = toKernel(options(opts).kernel);
    return new DmaBuf(kernel, createUdmabuf(kernel, ranges));
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return Number(this.fdWord);
  }

  /** The fd as native calls want it. @internal */
  get fdWord(): bigint {
    this.check();
    return this.#word;
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** What this process knows of it as its exporter. @internal */
  get exported(): Exported | undefined {
    if (this.#exported === null) this.#exported = kernelCall({}, () => Exported.find(this.handle));
    return this.#exported;
  }

  /** Another object of the same fd, which closes when both are closed. @internal */
  share(): DmaBuf {
    return new DmaBuf(this.kernel, native.fdShare(this.handle), this.size);
  }

  /**
   * A name for debugging, seen in fdinfo and debugfs by everybody who holds the buffer; '' if it has none
   * (DMA_BUF_SET_NAME). At most 31 bytes of UTF-8 (RangeError).
   */
  get name(): string {
    return this.#fdinfo('name') ?? '';
  }

  set name(name: string) {
    string(name, 'name');
    if (Buffer.byteLength(name) > nameLength) throw outOfRange('name', `at most ${String(nameLength)} bytes`, name);
    kernelCall({ name }, () => native.dmaBufSetName(this.handle, name));
  }

  /** The driver that made it: 'vfio_pci_core', 'udmabuf', a heap's name, … */
  get exporterName(): string {
    return this.#fdinfo('exp_name') ?? '';
  }

  /**
   * How many hold it, all over the system: file descriptors, mappings, importers, and the kernel itself while somebody
   * waits for its fences.
   */
  get references(): number {
    return Number(this.#fdinfo('count') ?? 0);
  }

  #fdinfo(key: string): string | undefined {
    const text = kernelCall({}, () => native.dmaBufFdinfo(this.handle));
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${key}:`));
    return line?.slice(key.length + 1).trim();
  }

  /**
   * Runs `callback` between {@link beginCpuAccess} and {@link endCpuAccess}, and returns what it returns. If that is a
   * promise, the access ends when it settles, and the result is a promise, too. It ends also when the callback throws,
   * and when the callback closes the dma-buf.
   *
   * As the begin, it holds up the thread while a device is using the buffer: `await buffer.idle(access)` before.
   */
  cpuAccess<T>(access: Access, callback: () => T): T {
    const flags = syncFlags[oneOf(access, 'access', accesses)];
    if (typeof callback !== 'function') throw invalidType('callback', 'of type function', callback);
    this.#sync(flags);
    this.#accesses += 1;
    let result: T;
    try {
      result = callback();
    } catch (error) {
      this.#endAccess(flags, true);
      throw error;
    }
    if (!types.isPromise(result)) {
      this.#endAccess(flags, false);
      return result;
    }
    return result.then(
      (value) => {
        this.#endAccess(flags, false);
        return value;
      },
      (error: unknown) => {
        this.#endAccess(flags, true);
        throw error;
      },
    ) as T;
  }

  /** @param failed the callback did: its error is told, rather than the end's. */
  #endAccess(flags: number, failed: boolean): void {
    this.#accesses -= 1;
    try {
      this.#syncRaw(flags | syncEnd);
    } catch (error) {
      if (!failed) throw error;
    } finally {
      if (this.closed && this.#accesses === 0) native.fdClose(this.#handle, false);
    }
  }

  /**
   * Says that the CPU is about to read or write the memory through a mapping, so that caches are in order
   * (DMA_BUF_IOCTL_SYNC with START). It holds up the thread until the devices that use the buffer are done, as the
   * kernel does: {@link idle} waits without. End it with {@link endCpuAccess}.
   */
  beginCpuAccess(access: Access = 'rw'): void {
    this.#sync(syncFlags[oneOf(access, 'access', accesses)]);
  }

  /**
   * Says that the CPU is done (DMA_BUF_IOCTL_SYNC with END). The access must be that of the begin.
   *
   * @throws KernelError EINVAL: a udmabuf whose CPU access never began.
   */
  endCpuAccess(access: Access = 'rw'): void {
    this.#sync(syncFlags[oneOf(access, 'access', accesses)] | syncEnd);
  }

  #sync(flags: number): void {
    this.check();
    this.#syncRaw(flags);
  }

  #syncRaw(flags: number): void {
    this.#syncNow ??= native.dmaBufSync(this.#handle);
    followSubscribers();
    try {
      this.#syncNow(flags);
    } catch (error) {
      throw explain(error, { flags });
    }
  }

  /**
   * Resolves when the devices' work on the buffer is done that `access` has to wait for: for 'r' that of the writers,
   * for 'w' and 'rw' everybody's (poll). It waits in the event loop, and keeps the process alive meanwhile. Drivers say
   * when they are at work on it, VFIO and IOMMUFD do not.
   *
   * @throws the signal's reason, when it is aborted. Error ERR_CLOSED: the dma-buf was closed before.
   */
  async idle(access: Access = 'rw', opts?: WaitOptions): Promise<void> {
    const events = idleEvents[oneOf(access, 'access', accesses)];
    return this.#waits.until(this.handle, events, toSignal(opts));
  }

  /**
   * The devices' work on the buffer that is under way, as a sync file: what `access` has to wait for, as with
   * {@link idle} (DMA_BUF_IOCTL_EXPORT_SYNC_FILE). With none under way it is signaled.
   *
   * @throws KernelError ENOTTY: a kernel before 6.0.
   */
  exportSyncFile(access: Access = 'rw'): SyncFile {
    const flags = syncFlags[oneOf(access, 'access', accesses)];
    return new SyncFile(
      this.kernel,
      kernelCall({ flags }, () => native.dmaBufExportSyncFile(this.handle, flags)),
    );
  }

  /**
   * Adds work to what others wait for who want the buffer: the sync file's fences, of a device that reads it ('r') or
   * writes it (DMA_BUF_IOCTL_IMPORT_SYNC_FILE).
   *
   * A fence that is not signaled holds up for as long {@link beginCpuAccess}, and, on a dma-buf of VFIO's, whatever
   * revokes it: a reset, switching memory off, closing the device.
   *
   * @throws KernelError ENOTTY: a kernel before 6.0.
   */
  importSyncFile(syncFile: SyncFile, access: Access = 'rw'): void {
    const { handle } = instance(syncFile, 'syncFile', SyncFile);
    const flags = syncFlags[oneOf(access, 'access', accesses)];
    kernelCall({ flags }, () => native.dmaBufImportSyncFile(this.handle, handle, flags));
  }

  /**
   * Maps it, or a part of it, for the CPU, if its exporter does that: udmabuf, the dma-heaps and most GPU drivers do. Put
   * accesses between {@link beginCpuAccess} and {@link endCpuAccess}.
   *
   * @throws KernelError EINVAL: the exporter does not (VFIO, in Linux 7.3), or `offset` is not a multiple of the page size.
   * EACCES: the fd does not allow this access. RangeError: outside the buffer.
   */
  map(opts?: MapBufferOptions): MappedDmaBuf {
    const { offset, length, access } = options(opts);
    const start = u64(offset ?? 0n, 'offset', 0n, this.size);
    const count = u64(length ?? this.size - start, 'length', 1n, this.size - start);
    const allowed = oneOf(access ?? 'rw', 'access', ['r', 'rw'] as const);
    const mapping = kernelCall(
      { offset: start, length: count, access: allowed },
      () => native.dmaBufMap(this.handle, start, count, allowed === 'rw'),
      { dmaBuf: this },
    );
    const mapped = new MappedDmaBuf(start, count, allowed, mapping, () => this.#mapped.delete(mapped));
    this.#mapped.add(mapped);
    return mapped;
  }

  /**
   * Closes the fd, and the CPU's mappings of it. What an IOAS has mapped stays; to {@link IoasMapping.remap} that, the
   * buffer must still be open. Whoever waits here gets ERR_CLOSED.
   */
  override close(): void {
    super.close();
  }
}

/** What is asked of the kernel about a new one. When that fails, the fd is closed. */
function factsOf(handle: FdHandle, size: bigint | undefined): { inode: bigint; size: bigint } {
  try {
    const inode = kernelCall({}, () => native.fdInode(handle));
    return { inode, size: size ?? kernelCall({}, () => native.dmaBufSize(handle)) };
  } catch (error) {
    native.fdClose(handle, false);
    throw error;
  }
}
