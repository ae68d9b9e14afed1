// DmaBuf wraps a dma-buf: memory that devices can share, referenced by a file descriptor.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { types } from 'node:util';
import { duplicate } from '../kernel/duplicate';
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

// Flags of linux/dma-buf.h.
const syncRead = 1;
const syncWrite = 2;
const syncEnd = 4;
const nameLength = 31;
const syncFlags: Record<Access, number> = { r: syncRead, w: syncWrite, rw: syncRead | syncWrite };
// Poll events per access: a reader waits for the write fences, a writer waits for all fences.
const idleEvents: Record<Access, number> = {
  r: pollEvents.readable,
  w: pollEvents.writable,
  rw: pollEvents.writable,
};

/** Options of {@link DmaBuf.map}. */
export interface MapBufferOptions {
  /** The offset from the buffer's start in bytes, a multiple of the page size. Default: 0. */
  offset?: number | bigint;
  /** The length in bytes. Default: up to the buffer's end. */
  length?: number | bigint;
  /** The access. Default: 'rw'. */
  access?: 'r' | 'rw';
}

/**
 * A dma-buf: memory that devices can share, referenced by a file descriptor. It is created by
 * {@link VfioDevice.exportDmaBuf}, from host memory by {@link DmaMemory.exportDmaBuf}, {@link DmaBuf.fromMemory} or
 * {@link DmaHeap.alloc}, or from an existing fd by {@link DmaBuf.fromFd}.
 */
export class DmaBuf extends Closable {
  readonly kernel: Kernel;
  /** The size in bytes: the sum of the ranges. */
  readonly size: bigint;
  /**
   * The inode number. It identifies the buffer across duplicated and received file descriptors, and the kernel does not
   * reuse it for another buffer.
   */
  readonly inode: bigint;
  readonly #handle: FdHandle;
  readonly #word: bigint;
  /** null: not searched yet. */
  #exported: Exported | undefined | null = null;
  #syncNow: ((flags: number) => void) | undefined;
  /** The number of cpuAccess() calls in progress. They keep the fd open. */
  #accesses = 0;
  readonly #waits = new Waits();
  readonly #mapped = new Set<MappedDmaBuf>();
  static readonly #end: End<DmaBuf> = {
    what: 'dma-buf',
    children: (buffer) => buffer.#mapped,
    close: (buffer) => {
      buffer.#waits.reject(() => closedError('dma-buf'));
      if (buffer.#accesses === 0) native.fdClose(buffer.#handle, false);
    },
  };

  static {
    shown(this, 'closed', 'fd', 'size', 'inode');
  }

  /** Takes ownership of the fd, also if it throws. `size`: the buffer's size, if it is known. @internal */
  constructor(made: Key, kernel: Kernel, handle: FdHandle, size?: bigint) {
    onlyInside(made, 'DmaBuf', 'use VfioDevice#exportDmaBuf(), DmaBuf.fromMemory() or DmaBuf.fromFd()');
    const facts = factsOf(handle, size);
    super(DmaBuf.#end);
    this.kernel = kernel;
    this.#handle = handle;
    this.#word = BigInt(native.fdNumber(handle));
    this.inode = facts.inode;
    this.size = facts.size;
  }

  /**
   * Creates an object for an existing dma-buf. The fd is duplicated: the caller still owns and closes its own.
   *
   * @throws KernelError EBADF: not an open fd. Error ERR_NOT_DMA_BUF: the fd is of another kind. ERR_OTHER_KERNEL: it is
   *   of another fake kernel.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): DmaBuf {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    const handle = duplicate(kernel, fd);
    try {
      if (!kernelCall({ fd }, () => native.dmaBufIs(handle))) {
        throw codedError('ERR_NOT_DMA_BUF', `fd ${String(fd)} is not a dma-buf`);
      }
    } catch (error) {
      native.fdSetForeign(handle);
      native.fdClose(handle, false);
      throw error;
    }
    const dmaBuf = new DmaBuf(key, kernel, handle);
    try {
      // Find the exporter's record now: another object of this process may close the buffer later.
      dmaBuf.#exported = kernelCall({ fd }, () => Exported.find(handle));
    } catch (error) {
      dmaBuf.close();
      throw error;
    }
    return dmaBuf;
  }

  /**
   * Creates one dma-buf from ranges of host memory, in this order, with /dev/udmabuf (UDMABUF_CREATE_LIST). It shares
   * the pages and keeps them allocated after their owners are closed. IOMMUFD cannot map such dma-bufs; other importers
   * can.
   *
   * @throws KernelError ENOENT: no udmabuf driver. EINVAL: a range is not page-aligned, exceeds its memory or the
   *   driver's limits, or the memfd's seals are wrong (F_SEAL_SHRINK is required, F_SEAL_WRITE is not allowed). EBADFD:
   *   not a memfd.
   */
  static fromMemory(ranges: readonly MemoryRange[], opts?: { kernel?: Kernel }): DmaBuf {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    return new DmaBuf(key, kernel, createUdmabuf(kernel, ranges));
  }

  /** The file descriptor, for example to send to another process. This object owns it: do not close it. */
  get fd(): number {
    return Number(this.fdWord);
  }

  /** The fd in the form of native calls' arguments. @internal */
  get fdWord(): bigint {
    this.check();
    return this.#word;
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** This process's record of the buffer, if this process exported it. @internal */
  get exported(): Exported | undefined {
    if (this.#exported === null) this.#exported = kernelCall({}, () => Exported.find(this.handle));
    return this.#exported;
  }

  /** Returns another object with the same fd. The fd is closed when both objects are closed. @internal */
  share(): DmaBuf {
    return new DmaBuf(key, this.kernel, native.fdShare(this.handle), this.size);
  }

  /**
   * A name for debugging (DMA_BUF_SET_NAME), shown in fdinfo and debugfs. '' if it has none. At most 31 bytes of UTF-8
   * (RangeError).
   */
  get name(): string {
    return this.#fdinfo('name') ?? '';
  }

  set name(name: string) {
    string(name, 'name');
    if (Buffer.byteLength(name) > nameLength) throw outOfRange('name', `at most ${String(nameLength)} bytes`, name);
    kernelCall({ name }, () => native.dmaBufSetName(this.handle, name));
  }

  /** The name of the exporting driver: 'vfio_pci_core', 'udmabuf', a heap's name, … */
  get exporterName(): string {
    return this.#fdinfo('exp_name') ?? '';
  }

  /**
   * The number of references in the whole system: file descriptors, mappings, importers, and the kernel's own while a
   * process waits for its fences.
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
   * Runs `callback` between {@link beginCpuAccess} and {@link endCpuAccess}, and returns its result. If the result is a
   * promise, the access ends when the promise settles. The access also ends if the callback throws or closes the
   * dma-buf.
   *
   * Like {@link beginCpuAccess}, this blocks the thread while a device uses the buffer. To avoid this, call
   * `await buffer.idle(access)` first.
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

  /**
   * @param failed whether the callback threw. Then its error is thrown instead of an error from the end of the access.
   */
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
   * Begins CPU access to the memory through a mapping and makes caches coherent (DMA_BUF_IOCTL_SYNC with START). The
   * kernel blocks the thread until the devices that use the buffer are done; {@link idle} waits without blocking. End
   * the access with {@link endCpuAccess}.
   */
  beginCpuAccess(access: Access = 'rw'): void {
    this.#sync(syncFlags[oneOf(access, 'access', accesses)]);
  }

  /**
   * Ends CPU access (DMA_BUF_IOCTL_SYNC with END). `access` must be the same as for {@link beginCpuAccess}.
   *
   * @throws KernelError EINVAL: CPU access to this udmabuf was never begun.
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
   * Resolves when the fences that `access` depends on are signaled (poll): the write fences for 'r', all fences for 'w'
   * and 'rw'. It waits in the event loop and keeps the process alive. VFIO and IOMMUFD do not add fences; other drivers
   * may.
   *
   * @throws the signal's reason, when it is aborted. Error ERR_CLOSED: the dma-buf was closed while waiting.
   */
  async idle(access: Access = 'rw', opts?: WaitOptions): Promise<void> {
    const events = idleEvents[oneOf(access, 'access', accesses)];
    return this.#waits.until(this.handle, events, toSignal(opts));
  }

  /**
   * Exports the fences that `access` depends on as a sync file, as for {@link idle} (DMA_BUF_IOCTL_EXPORT_SYNC_FILE).
   * Without pending fences, the sync file is signaled.
   *
   * @throws KernelError ENOTTY: a kernel before 6.0.
   */
  exportSyncFile(access: Access = 'rw'): SyncFile {
    const flags = syncFlags[oneOf(access, 'access', accesses)];
    return new SyncFile(
      key,
      this.kernel,
      kernelCall({ flags }, () => native.dmaBufExportSyncFile(this.handle, flags)),
    );
  }

  /**
   * Adds the sync file's fences to the buffer as read fences ('r') or write fences (DMA_BUF_IOCTL_IMPORT_SYNC_FILE).
   *
   * A fence that is not signaled blocks {@link beginCpuAccess}. On a dma-buf of VFIO's it also blocks everything that
   * revokes the buffer: a device reset, disabling memory decoding, closing the device.
   *
   * @throws KernelError ENOTTY: a kernel before 6.0.
   */
  importSyncFile(syncFile: SyncFile, access: Access = 'rw'): void {
    const { handle } = instance(syncFile, 'syncFile', SyncFile);
    const flags = syncFlags[oneOf(access, 'access', accesses)];
    kernelCall({ flags }, () => native.dmaBufImportSyncFile(this.handle, handle, flags));
  }

  /**
   * Maps the buffer, or a part of it, for the CPU, if the exporter supports mmap: udmabuf, the dma-heaps and most GPU
   * drivers do. Access the memory between {@link beginCpuAccess} and {@link endCpuAccess}.
   *
   * @throws KernelError EINVAL: the exporter does not support mmap (VFIO, as of Linux 7.3), or `offset` is not a
   *   multiple of the page size. EACCES: the fd does not allow this access. RangeError: outside the buffer.
   */
  map(opts?: MapBufferOptions): MappedDmaBuf {
    const { offset, length, access } = options(opts, ['offset', 'length', 'access']);
    const start = u64(offset ?? 0n, 'offset', 0n, this.size);
    const count = u64(length ?? this.size - start, 'length', 1n, this.size - start);
    const allowed = oneOf(access ?? 'rw', 'access', ['r', 'rw'] as const);
    const mapping = kernelCall(
      { offset: start, length: count, access: allowed },
      () => native.dmaBufMap(this.handle, start, count, allowed === 'rw'),
      { dmaBuf: this },
    );
    const mapped = new MappedDmaBuf(key, start, count, allowed, mapping, () => this.#mapped.delete(mapped));
    this.#mapped.add(mapped);
    return mapped;
  }

  /**
   * Closes the fd and the CPU mappings. IOAS mappings stay; {@link IoasMapping.remap} requires that the buffer is still
   * open. Promises that wait on this object reject with ERR_CLOSED.
   */
  override close(): void {
    super.close();
  }
}

/** Reads the inode and the size of a new buffer. Closes the fd if this fails. */
function factsOf(handle: FdHandle, size: bigint | undefined): { inode: bigint; size: bigint } {
  try {
    const inode = kernelCall({}, () => native.fdInode(handle));
    return { inode, size: size ?? kernelCall({}, () => native.dmaBufSize(handle)) };
  } catch (error) {
    native.fdClose(handle, false);
    throw error;
  }
}
