import { toKernel } from '../default-kernel';
import { closedError, codedError, explain, kernelCall } from '../errors';
import type { Kernel } from '../kernel';
import { expectClose, wasClosed } from '../lost';
import { native, type FdHandle } from '../native';
import { followSubscribers } from '../trace';
import { accesses, integer, oneOf, options, outOfRange, string, type Access } from '../validate';
import { Exported } from './exported';

// linux/dma-buf.h
const syncRead = 1;
const syncWrite = 2;
const syncEnd = 4;
const nameLength = 31;
const syncFlags: Record<Access, number> = { r: syncRead, w: syncWrite, rw: syncRead | syncWrite };

/**
 * A dma-buf: a piece of memory that any device can be given, held by a file descriptor.
 *
 * It comes from {@link VfioDevice.exportDmaBuf}, from {@link DmaMemory.exportDmaBuf}, or, with {@link DmaBuf.fromFd},
 * from anybody.
 */
export class DmaBuf {
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
  #closed = false;

  /** Takes the fd over, also when it throws. `size`: if it is known. @internal */
  constructor(kernel: Kernel, handle: FdHandle, size?: bigint) {
    this.kernel = kernel;
    this.#handle = handle;
    try {
      this.inode = kernelCall({}, () => native.fdInode(handle));
      this.size = size ?? kernelCall({}, () => native.dmaBufSize(handle));
      this.#word = BigInt(native.fdNumber(handle));
    } catch (error) {
      native.fdClose(handle, false);
      throw error;
    }
    expectClose(this, 'dma-buf');
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

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return Number(this.fdWord);
  }

  /** The fd as native calls want it. @internal */
  get fdWord(): bigint {
    if (this.#closed) throw closedError('dma-buf');
    return this.#word;
  }

  /** @internal */
  get handle(): FdHandle {
    if (this.#closed) throw closedError('dma-buf');
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

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A name for debugging, seen in fdinfo and debugfs by everybody who holds the buffer; '' if it has none. At most 31
   * bytes of UTF-8 (RangeError).
   */
  get name(): string {
    return this.#fdinfo('name') ?? '';
  }

  set name(name: string) {
    string(name, 'name');
    if (Buffer.byteLength(name) > nameLength) throw outOfRange('name', `at most ${String(nameLength)} bytes`, name);
    kernelCall({ name }, () => {
      native.dmaBufSetName(this.handle, name);
    });
  }

  /** The driver that made it: 'vfio_pci_core', 'udmabuf', 'system', … */
  get exporterName(): string {
    return this.#fdinfo('exp_name') ?? '';
  }

  #fdinfo(key: string): string | undefined {
    const text = kernelCall({}, () => native.dmaBufFdinfo(this.handle));
    const line = text.split('\n').find((candidate) => candidate.startsWith(`${key}:`));
    return line?.slice(key.length + 1).trim();
  }

  /**
   * Says that the CPU is about to read or write the memory through a mapping of its own, so that caches are in order
   * (DMA_BUF_IOCTL_SYNC with START). End it with {@link endCpuAccess}.
   */
  beginCpuAccess(access: Access = 'rw'): void {
    this.#sync(syncFlags[oneOf(access, 'access', accesses)]);
  }

  /** Says that the CPU is done (DMA_BUF_IOCTL_SYNC with END). The access must be that of the begin. */
  endCpuAccess(access: Access = 'rw'): void {
    this.#sync(syncFlags[oneOf(access, 'access', accesses)] | syncEnd);
  }

  #sync(flags: number): void {
    if (this.#closed) throw closedError('dma-buf');
    this.#syncNow ??= native.dmaBufSync(this.#handle);
    followSubscribers();
    try {
      this.#syncNow(flags);
    } catch (error) {
      throw explain(error, { flags });
    }
  }

  /** Closes the fd. Mappings of the buffer stay; to {@link IoasMapping.remap} them, the buffer must still be open. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    wasClosed(this);
    native.fdClose(this.#handle, false);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
