// A dma-heap: where the kernel allocates dma-bufs of host memory.
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

/** How the memory is wanted. */
export interface AllocOptions {
  /** What the dma-buf's fd, and whoever it is handed on to, may be mapped for: 'rw' unless told; 'w' is for nobody. */
  access?: Access;
}

/**
 * A dma-heap: memory of one kind for dma-bufs, as the kernel has them. 'system' is ordinary memory, in pages that need not
 * be next to each other; others are a machine's own (contiguous, protected, …).
 */
export class DmaHeap extends Closable {
  readonly kernel: Kernel;
  readonly name: string;
  readonly #handle: FdHandle;

  static readonly #end: End<DmaHeap> = {
    what: 'dma-heap',
    close: (heap) => native.fdClose(heap.#handle, false),
  };

  private constructor(kernel: Kernel, name: string, handle: FdHandle) {
    super(DmaHeap.#end);
    this.kernel = kernel;
    this.name = name;
    this.#handle = handle;
  }

  /** The names of the heaps that the kernel has, sorted. */
  static list(opts?: { kernel?: Kernel }): string[] {
    const kernel = toKernel(options(opts).kernel);
    try {
      return readdirSync(join(kernel.sysfs, 'class/dma_heap')).sort();
    } catch {
      return []; // no CONFIG_DMABUF_HEAPS
    }
  }

  /**
   * Opens a heap, by its name in /dev/dma_heap.
   *
   * @throws KernelError ENOENT: no such heap. EACCES: this user may not. Error ERR_WRONG_NODE: the file is another device.
   */
  static open(name = 'system', opts?: { kernel?: Kernel }): DmaHeap {
    const kernel = toKernel(options(opts).kernel);
    if (!/^[\w.-]+$/.test(string(name, 'name')) || /^\.+$/.test(name)) {
      throw outOfRange('name', 'the name of a file', name);
    }
    const node = classNode(`${folder}/${name}`, `dma-heap ${name}`, 'dma_heap', name);
    return new DmaHeap(kernel, name, openNodeSync(kernel, node));
  }

  #open(): FdHandle {
    this.check();
    return this.#handle;
  }

  /**
   * A dma-buf of new, zeroed memory: `size` bytes (1 to 2^63 less a page), rounded up to whole pages (DMA_HEAP_IOCTL_ALLOC).
   * The memory is taken at once and cannot be swapped out; the system heap asks for more until there is none, and what then
   * ends may be some process: mind the size.
   *
   * @throws KernelError ENOMEM: the heap has no such amount.
   */
  async alloc(size: number | bigint, opts?: AllocOptions): Promise<DmaBuf> {
    const { length, flags } = toRequest(size, opts);
    const handle = await kernelCallAsync({ heap: this.name, size: length }, () =>
      native.heapAllocate(this.#open(), length, flags, true),
    );
    return new DmaBuf(this.kernel, handle);
  }

  /** The same, now. */
  allocSync(size: number | bigint, opts?: AllocOptions): DmaBuf {
    const { length, flags } = toRequest(size, opts);
    const call = () => native.heapAllocate(this.#open(), length, flags, false);
    return new DmaBuf(this.kernel, kernelCall({ heap: this.name, size: length }, call));
  }

  /** Closes the heap. Its dma-bufs stay. */
  override close(): void {
    super.close();
  }
}

function toRequest(size: number | bigint, opts: AllocOptions | undefined): { length: bigint; flags: number } {
  const length = u64(size, 'size', 1n, 2n ** 63n - native.pageSize);
  return { length, flags: openFlags[oneOf(options(opts).access ?? 'rw', 'access', accesses)] };
}
