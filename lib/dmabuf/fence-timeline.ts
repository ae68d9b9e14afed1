// FenceTimeline creates fences that a test signals itself (sw_sync).
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { toKernel } from '../kernel/default-kernel';
import { SyncFile } from './sync-file';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { instance, integer, options } from '../errors/validate';

const path = '/sys/kernel/debug/sync/sw_sync';
const u32Max = 0xffff_ffff;

/**
 * A timeline whose fences a test signals in place of a device (sw_sync). Every fake kernel has it. A real kernel needs
 * CONFIG_SW_SYNC and debugfs (root only), and is tainted by it. The timeline is a 32-bit counter that starts at 0. A
 * fence is signaled when the counter reaches its value.
 *
 * A fence that is never signaled blocks kernel waits forever: {@link DmaBuf.beginCpuAccess}, and everything that
 * revokes a dma-buf into which the fence was imported.
 */
export class FenceTimeline extends Closable {
  readonly kernel: Kernel;
  readonly #handle: FdHandle;

  static readonly #end: End<FenceTimeline> = {
    what: 'fence timeline',
    close: (timeline) => native.fdClose(timeline.#handle, false),
  };

  static {
    shown(this, 'closed');
  }

  private constructor(made: Key, kernel: Kernel, handle: FdHandle) {
    onlyInside(made, 'FenceTimeline', 'use FenceTimeline.open()');
    super(FenceTimeline.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /** Creates a timeline. @throws KernelError ENOENT: no sw_sync, or debugfs is not mounted. */
  static open(opts?: { kernel?: Kernel }): FenceTimeline {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    const handle = kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel });
    return new FenceTimeline(key, kernel, handle);
  }

  #open(): FdHandle {
    this.check();
    return this.#handle;
  }

  /**
   * Creates a fence at this value of the counter (SW_SYNC_IOC_CREATE_FENCE). If the counter has reached the value, the
   * fence is signaled at once.
   */
  createFence(value: number): SyncFile {
    integer(value, 'value', 0, u32Max);
    return new SyncFile(
      key,
      this.kernel,
      kernelCall({ value }, () => native.fenceCreate(this.#open(), value)),
    );
  }

  /** Adds to the counter and signals the fences up to its new value (SW_SYNC_IOC_INC). */
  advance(count = 1): void {
    integer(count, 'count', 0, u32Max);
    kernelCall({ count }, () => native.timelineAdvance(this.#open(), count));
  }

  /**
   * The fence's deadline, as set by {@link SyncFile.setDeadline}; undefined if none is set (SW_SYNC_GET_DEADLINE).
   *
   * @throws KernelError EINVAL: not a single fence of a sw_sync timeline.
   */
  deadline(fence: SyncFile): bigint | undefined {
    const { handle } = instance(fence, 'fence', SyncFile);
    return kernelCall({}, () => native.fenceDeadline(this.#open(), handle));
  }

  /** Closes the timeline. Its pending fences fail with ENOENT. */
  override close(): void {
    super.close();
  }
}
