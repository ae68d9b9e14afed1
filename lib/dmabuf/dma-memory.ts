// Host memory for DMA: a sealed memfd, mapped into this process.
import { toKernel } from '../kernel/default-kernel';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
import { oneOf, options, outOfRange, u64 } from '../errors/validate';
import { DmaBuf } from './dma-buf';
import { udmabufPath, withUdmabuf } from './udmabuf-driver';

const pageLog2 = 12;
const hugePageLog2: Record<HugePageSize, number> = { '2M': 21, '1G': 30 };
// The largest ArrayBuffer that every supported V8 takes.
const largest = 2n ** 32n;

// linux/fcntl.h
const sealBits = { seal: 1, shrink: 2, grow: 4, write: 8, 'future-write': 16 } as const;

/** Something that can be forbidden to be done to a memfd. */
export type Seal = keyof typeof sealBits;

const sealNames = Object.keys(sealBits) as Seal[];

/** The sizes of huge pages that can be asked for. */
export type HugePageSize = '2M' | '1G';

/** Host memory for DMA: a sealed memfd, and its pages as an ArrayBuffer. Zeroed. */
export class DmaMemory extends Closable {
  /** In bytes: what was asked for, rounded up to whole pages. */
  readonly size: number;
  readonly #kernel: Kernel;
  readonly #fd: FdHandle;
  readonly #mapping: MappingHandle;
  #buffer: ArrayBuffer | undefined;

  static readonly #end: End<DmaMemory> = {
    what: 'DMA memory',
    close: (memory) => {
      native.mappingRetire(memory.#mapping);
      native.fdClose(memory.#fd, false);
    },
  };

  private constructor(kernel: Kernel, size: number, fd: FdHandle, mapping: MappingHandle) {
    super(DmaMemory.#end);
    this.#kernel = kernel;
    this.size = size;
    this.#fd = fd;
    this.#mapping = mapping;
  }

  /**
   * Allocates at least `size` bytes (1 to 4 GiB).
   *
   * @throws KernelError ENOMEM: with `hugePages`, not enough of them are reserved.
   */
  static alloc(size: number | bigint, opts?: { hugePages?: HugePageSize; kernel?: Kernel }): DmaMemory {
    const { hugePages, kernel: chosen } = options(opts);
    const kernel = toKernel(chosen);
    const wanted = u64(size, 'size', 1n, largest);
    const log2 =
      hugePages === undefined
        ? 0
        : hugePageLog2[oneOf(hugePages, 'hugePages', Object.keys(hugePageLog2) as HugePageSize[])];
    const page = 1n << BigInt(log2 || pageLog2);
    const rounded = ((wanted + page - 1n) / page) * page;
    if (rounded > largest) throw outOfRange('size', `<= ${String(largest)} in whole pages`, size);
    const { fd, mapping } = kernelCall({ size: Number(rounded), hugePages }, () =>
      native.memoryAllocate(kernel.handle, rounded, log2, false),
    );
    return new DmaMemory(kernel, Number(rounded), fd, mapping);
  }

  /**
   * The memory. After close() every view of it reads zeros, wherever it is: here, in another thread, transferred. It is not
   * detached, as Node's own asynchronous calls (zlib's, for one) end the process when a buffer they work on is.
   */
  get buffer(): ArrayBuffer {
    const { mapping } = this;
    this.#buffer ??= native.memoryBuffer(mapping);
    return this.#buffer;
  }

  /** The memfd's number, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.fdHandle);
  }

  /** @internal */
  get fdHandle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** @internal */
  get mapping(): MappingHandle {
    this.check();
    return this.#mapping;
  }

  /**
   * A dma-buf of this memory, or of a page-aligned piece of it, made by /dev/udmabuf (UDMABUF_CREATE). It shares the
   * pages and outlives this object; {@link DmaBuf.fromMemory} makes one of several. IOMMUFD does not map such dma-bufs (mapMemory does it without); other importers do.
   *
   * @throws KernelError ENOENT: no udmabuf driver. EINVAL: not page aligned, or over the driver's size limit.
   */
  exportDmaBuf(opts?: { offset?: number | bigint; length?: number | bigint }): DmaBuf {
    const { fdHandle } = this;
    const { offset, length } = options(opts);
    const start = u64(offset ?? 0n, 'offset', 0n, BigInt(this.size));
    const count = u64(length ?? BigInt(this.size) - start, 'length', 1n, BigInt(this.size) - start);
    const kernel = this.#kernel;
    const args = { path: udmabufPath, offset: start, size: count };
    const handle = withUdmabuf(kernel, (driver) =>
      kernelCall(args, () => native.udmabufCreate(driver, fdHandle, start, count), { kernel }),
    );
    return new DmaBuf(kernel, handle);
  }

  /** What cannot be done to the memory any more. It is born sealed against shrinking, as /dev/udmabuf and safety want it. */
  get seals(): Seal[] {
    const word = kernelCall({}, () => native.memorySeals(this.fdHandle));
    return sealNames.filter((name) => (word & sealBits[name]) !== 0);
  }

  /**
   * Seals the memory, for good and for everybody (fcntl F_ADD_SEALS): 'grow'; 'future-write', so that whoever is handed
   * the fd can only read it, while what is mapped already stays writable; 'seal', so that no more can be added. With
   * 'future-write' /dev/udmabuf does not take it any more.
   *
   * @throws KernelError EBUSY: 'write', as the memory is mapped here. EPERM: sealed against sealing.
   */
  seal(...seals: Seal[]): void {
    const word = seals.reduce((sum, name) => sum | sealBits[oneOf(name, 'seals', sealNames)], 0);
    kernelCall({ seals: seals.join(' ') }, () => native.memorySeal(this.fdHandle, word));
  }

  /** Frees the memory for this process. A device that has it mapped in an IOAS keeps the pages until the unmap. */
  override close(): void {
    super.close();
  }
}
