// DmaHeap allocates dma-bufs of host memory from a kernel dma-heap.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { constants, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type FdHandle, native } from '../addon/native';
import { kernelCall, kernelCallAsync } from '../errors/errors';
import { type Access, accesses, oneOf, options, outOfRange, string, u64 } from '../errors/validate';
import { toKernel } from '../kernel/default-kernel';
import { classNode, openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { DmaBuf } from './dma-buf';

const folder = '/dev/dma_heap';
const openFlags: Record<Access, number> = { r: constants.O_RDONLY, w: constants.O_WRONLY, rw: constants.O_RDWR };

/** Options for allocating. */
export interface AllocOptions {
  /**
   * The access that the dma-buf's fd allows for mmap, also in other processes. Default: 'rw'. 'w' allows no mapping.
   */
  access?: Access;
}

/**
 * A dma-heap of the kernel, which allocates dma-bufs from one kind of memory. 'system' is ordinary memory in pages that
 * need not be contiguous. Other heaps depend on the machine (contiguous, protected, …).
 */
export class DmaHeap extends Closable {
  readonly kernel: Kernel;
  readonly name: string;
  readonly #handle: FdHandle;

  static readonly #end: End<DmaHeap> = {
    what: 'dma-heap',
    close: (heap) => native.fdClose(heap.#handle, false),
  };

  static {
    shown(this, 'closed', 'name');
  }

  private constructor(made: Key, kernel: Kernel, name: string, handle: FdHandle) {
    onlyInside(made, 'DmaHeap', 'use DmaHeap.open()');
    super(DmaHeap.#end);
    this.kernel = kernel;
    this.name = name;
    this.#handle = handle;
  }

  /** Returns the sorted names of the kernel's heaps. */
  static list(opts?: { kernel?: Kernel }): string[] {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    try {
      return readdirSync(join(kernel.sysfs, 'class/dma_heap')).sort();
    } catch {
      return []; // the kernel lacks CONFIG_DMABUF_HEAPS
    }
  }

  /**
   * Opens a heap by its name in /dev/dma_heap.
   *
   * @throws KernelError ENOENT: no such heap. EACCES: no permission. Error ERR_WRONG_NODE: the file is another
   *   device's.
   */
  static open(name = 'system', opts?: { kernel?: Kernel }): DmaHeap {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    if (!/^[\w.-]+$/.test(string(name, 'name')) || /^\.+$/.test(name)) {
      throw outOfRange('name', 'the name of a file', name);
    }
    const node = classNode(`${folder}/${name}`, `dma-heap ${name}`, 'dma_heap', name);
    return new DmaHeap(key, kernel, name, openNodeSync(kernel, node));
  }

  #open(): FdHandle {
    this.check();
    return this.#handle;
  }

  /**
   * Allocates a dma-buf of zeroed memory: `size` bytes (1 to 2^63 less a page), rounded up to whole pages
   * (DMA_HEAP_IOCTL_ALLOC). The memory is allocated at once and cannot be swapped out. The system heap has no limit: a
   * large `size` can make the OOM killer end any process.
   *
   * @throws KernelError ENOMEM: the heap cannot allocate this size.
   */
  async alloc(size: number | bigint, opts?: AllocOptions): Promise<DmaBuf> {
    const { length, flags } = toRequest(size, opts);
    const handle = await kernelCallAsync({ heap: this.name, size: length }, () =>
      native.heapAllocate(this.#open(), length, flags, true),
    );
    return new DmaBuf(key, this.kernel, handle);
  }

  /** As {@link alloc}, but blocks the thread. */
  allocSync(size: number | bigint, opts?: AllocOptions): DmaBuf {
    const { length, flags } = toRequest(size, opts);
    const call = () => native.heapAllocate(this.#open(), length, flags, false);
    return new DmaBuf(key, this.kernel, kernelCall({ heap: this.name, size: length }, call));
  }

  /** Closes the heap. Its dma-bufs stay open. */
  override close(): void {
    super.close();
  }
}

function toRequest(size: number | bigint, opts: AllocOptions | undefined): { length: bigint; flags: number } {
  const length = u64(size, 'size', 1n, 2n ** 63n - native.pageSize);
  return { length, flags: openFlags[oneOf(options(opts, ['access']).access ?? 'rw', 'access', accesses)] };
}
