// Sync files: fences of devices, to wait for and to merge.
import { toKernel } from '../kernel/default-kernel';
import { closedError, codedError, kernelCall } from '../errors/errors';
import { errnoName } from '../addon/errno';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { pollEvents } from '../events/poll';
import { instance, integer, options, outOfRange, string, u64 } from '../errors/validate';
import { toSignal, Waits, type WaitOptions } from '../events/waits';

// linux/sync_file.h
const nameLength = 31;

/** Where a fence is: not there yet, passed, or given up by its driver. */
export type FenceState = 'pending' | 'signaled' | 'failed';

/** One point of some device's work, which is reached once. */
export interface FenceInfo {
  /** The driver, and its name for the queue of work: what a fence that is signaled has forgotten, on new kernels. */
  readonly driver: string;
  readonly timeline: string;
  readonly state: FenceState;
  /** Why it failed: 'ETIMEDOUT', … */
  readonly error: string | undefined;
  /** When it was signaled: nanoseconds of CLOCK_MONOTONIC, as `process.hrtime.bigint()`; undefined while it is pending. */
  readonly timestamp: bigint | undefined;
}

/** All that a sync file tells. */
export interface SyncFileInfo {
  /** What {@link SyncFile.merge} was told, or the kernel's own. */
  readonly name: string;
  /** 'signaled' when all its fences are; otherwise what the first of them that is not is. */
  readonly state: FenceState;
  readonly error: string | undefined;
  readonly fences: readonly FenceInfo[];
}

function stateOf(status: number): { state: FenceState; error: string | undefined } {
  if (status < 0) return { state: 'failed', error: errnoName(-status) };
  return { state: status === 0 ? 'pending' : 'signaled', error: undefined };
}

/**
 * Fences in a file: something to wait for until devices are done with what they do. It comes from
 * {@link DmaBuf.exportSyncFile}, from a GPU's or display's driver ({@link SyncFile.fromFd}), or, for tests, from a
 * {@link FenceTimeline}.
 */
export class SyncFile extends Closable {
  readonly kernel: Kernel;
  readonly #handle: FdHandle;
  readonly #waits = new Waits();

  static readonly #end: End<SyncFile> = {
    what: 'sync file',
    close: (file) => {
      file.#waits.reject(closedError('sync file'));
      native.fdClose(file.#handle, false);
    },
  };

  /** Takes the fd over. @internal */
  constructor(kernel: Kernel, handle: FdHandle) {
    super(SyncFile.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /**
   * A sync file that somebody else made. The fd is duplicated: the caller's own stays open and the caller's.
   *
   * @throws KernelError EBADF: not an open fd. Error ERR_NOT_SYNC_FILE: an fd of something else.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): SyncFile {
    const kernel = toKernel(options(opts).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    const handle = kernelCall({ fd }, () => native.fdDuplicate(kernel.handle, fd));
    try {
      if (!kernelCall({ fd }, () => native.syncFileIs(handle))) {
        throw codedError('ERR_NOT_SYNC_FILE', `fd ${String(fd)} is not a sync file`);
      }
    } catch (error) {
      native.fdSetForeign(handle);
      native.fdClose(handle, false);
      throw error;
    }
    return new SyncFile(kernel, handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** Its name and its fences, as they are now (SYNC_IOC_FILE_INFO, once for their number and once for them). */
  info(): SyncFileInfo {
    const { name, status, fences } = kernelCall({}, () => native.syncFileInfo(this.handle));
    return {
      name,
      ...stateOf(status),
      fences: fences.map((fence) => ({
        driver: fence.driver,
        timeline: fence.timeline,
        ...stateOf(fence.status),
        timestamp: fence.status === 0 ? undefined : fence.timestamp,
      })),
    };
  }

  /** Where its fences are (SYNC_IOC_FILE_INFO): 'signaled' when all are. */
  get state(): FenceState {
    return this.info().state;
  }

  /**
   * Resolves when every fence is signaled, or has failed: `info()` tells which (poll). It waits in the event loop, and
   * keeps the process alive meanwhile.
   *
   * @throws the signal's reason, when it is aborted. Error ERR_CLOSED: the file was closed before.
   */
  async signaled(opts?: WaitOptions): Promise<void> {
    return this.#waits.until(this.handle, pollEvents.readable, toSignal(opts));
  }

  /**
   * A sync file of this one's fences and the other's: of each timeline the latest, and without what is signaled already
   * (SYNC_IOC_MERGE). Both stay as they are. The name is for debugging, at most 31 bytes of UTF-8; without one the
   * kernel makes it up.
   */
  merge(other: SyncFile, opts?: { name?: string }): SyncFile {
    const name = string(options(opts).name ?? '', 'name');
    if (Buffer.byteLength(name) > nameLength) throw outOfRange('name', `at most ${String(nameLength)} bytes`, name);
    const { handle } = instance(other, 'other', SyncFile);
    return new SyncFile(
      this.kernel,
      kernelCall({}, () => native.syncFileMerge(this.handle, handle, name)),
    );
  }

  /**
   * Tells the drivers by when the fences are wanted, in nanoseconds of CLOCK_MONOTONIC, as `process.hrtime.bigint()`
   * (SYNC_IOC_SET_DEADLINE). A hint: a GPU may raise its clock.
   *
   * @throws KernelError ENOTTY: a kernel before 6.6.
   */
  setDeadline(deadline: number | bigint): void {
    const time = u64(deadline, 'deadline', 0n, 2n ** 63n - 1n);
    kernelCall({ deadline: time }, () => native.syncFileSetDeadline(this.handle, time));
  }

  /** Closes the fd. The fences themselves go on; whoever waits here gets ERR_CLOSED. */
  override close(): void {
    super.close();
  }
}
