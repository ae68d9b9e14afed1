// sw_sync: fences that a test signals itself.
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
 * A timeline whose fences a test signals itself, in place of a device: sw_sync, which every fake kernel has, and a real
 * one with CONFIG_SW_SYNC and debugfs (root only; the kernel is tainted by it). It is a counter of 32 bits that starts
 * at 0; a fence is signaled when the counter has come to its value.
 *
 * A fence that is never signaled holds up for ever who waits for it in the kernel: {@link DmaBuf.beginCpuAccess}, and
 * whatever revokes a dma-buf that it was imported into.
 */
export class FenceTimeline extends Closable {
  readonly kernel: Kernel;
  readonly #handle: FdHandle;

  static readonly #end: End<FenceTimeline> = {
    what: 'fence timeline',
    close: (timeline) => native.fdClose(timeline.#handle, false),
  };

  private constructor(kernel: Kernel, handle: FdHandle) {
    super(FenceTimeline.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /** A new timeline. @throws KernelError ENOENT: no sw_sync, or debugfs is not mounted. */
  static open(opts?: { kernel?: Kernel }): FenceTimeline {
    const kernel = toKernel(options(opts).kernel);
    const handle = kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel });
    return new FenceTimeline(kernel, handle);
  }

  #open(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** A fence at this value of the counter, signaled at once if that is not ahead (SW_SYNC_IOC_CREATE_FENCE). */
  createFence(value: number): SyncFile {
    integer(value, 'value', 0, u32Max);
    return new SyncFile(
      this.kernel,
      kernelCall({ value }, () => native.fenceCreate(this.#open(), value)),
    );
  }

  /** Adds to the counter, and so signals the fences up to there (SW_SYNC_IOC_INC). */
  advance(count = 1): void {
    integer(count, 'count', 0, u32Max);
    kernelCall({ count }, () => native.timelineAdvance(this.#open(), count));
  }

  /**
   * By when a fence is wanted, as {@link SyncFile.setDeadline} said; undefined: nobody did (SW_SYNC_GET_DEADLINE).
   *
   * @throws KernelError EINVAL: not a single fence of such a timeline.
   */
  deadline(fence: SyncFile): bigint | undefined {
    const { handle } = instance(fence, 'fence', SyncFile);
    return kernelCall({}, () => native.fenceDeadline(this.#open(), handle));
  }

  /** Closes it. Fences that are pending fail: ENOENT. */
  override close(): void {
    super.close();
  }
}
