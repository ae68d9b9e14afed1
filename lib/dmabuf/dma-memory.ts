// DmaMemory is host memory for DMA: a sealed memfd, mapped into this process.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { toKernel } from '../kernel/default-kernel';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
import { oneOf, options, outOfRange, u64 } from '../errors/validate';
import { DmaBuf } from './dma-buf';
import { udmabufPath, withUdmabuf } from './udmabuf-driver';

const hugePageLog2: Record<HugePageSize, number> = { '2M': 21, '1G': 30 };
// The largest ArrayBuffer that every supported V8 version allows, in bytes.
const largest = 2n ** 32n;

// Bits of the F_SEAL_* flags (linux/fcntl.h).
const sealBits = { seal: 1, shrink: 2, grow: 4, write: 8, 'future-write': 16 } as const;

/** A memfd seal (F_SEAL_*). */
export type Seal = keyof typeof sealBits;

const sealNames = Object.keys(sealBits) as Seal[];

/** The supported sizes of huge pages. */
export type HugePageSize = '2M' | '1G';

/** Host memory for DMA: a sealed memfd whose zeroed pages are available as an ArrayBuffer. */
export class DmaMemory extends Closable {
  /** The size in bytes: the requested size, rounded up to whole pages. */
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

  static {
    shown(this, 'closed', 'fd', 'size');
  }

  private constructor(made: Key, kernel: Kernel, size: number, fd: FdHandle, mapping: MappingHandle) {
    onlyInside(made, 'DmaMemory', 'use DmaMemory.alloc()');
    super(DmaMemory.#end);
    this.#kernel = kernel;
    this.size = size;
    this.#fd = fd;
    this.#mapping = mapping;
  }

  /**
   * Allocates at least `size` bytes (1 to 4 GiB).
   *
   * @throws KernelError ENOMEM: with `hugePages`, not enough huge pages are reserved.
   */
  static alloc(size: number | bigint, opts?: { hugePages?: HugePageSize; kernel?: Kernel }): DmaMemory {
    const { hugePages, kernel: chosen } = options(opts, ['hugePages', 'kernel']);
    const kernel = toKernel(chosen);
    const wanted = u64(size, 'size', 1n, largest);
    const log2 =
      hugePages === undefined
        ? 0
        : hugePageLog2[oneOf(hugePages, 'hugePages', Object.keys(hugePageLog2) as HugePageSize[])];
    const page = log2 === 0 ? native.pageSize : 1n << BigInt(log2);
    const rounded = ((wanted + page - 1n) / page) * page;
    if (rounded > largest) throw outOfRange('size', `<= ${String(largest)} in whole pages`, size);
    const { fd, mapping } = kernelCall({ size: Number(rounded), hugePages }, () =>
      native.memoryAllocate(kernel.handle, rounded, log2, false),
    );
    return new DmaMemory(key, kernel, Number(rounded), fd, mapping);
  }

  /**
   * The memory. After close(), every view of it reads zeros, also in other threads and after a transfer. The buffer is
   * not detached, because Node's asynchronous calls (for example zlib's) abort the process if their buffer is detached.
   */
  get buffer(): ArrayBuffer {
    const { mapping } = this;
    this.#buffer ??= native.memoryBuffer(mapping);
    return this.#buffer;
  }

  /** The memfd, for example to send to another process. This object owns it: do not close it. */
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
   * Creates a dma-buf of this memory, or of a page-aligned part of it, with /dev/udmabuf (UDMABUF_CREATE). The dma-buf
   * shares the pages and stays valid after this object is closed. {@link DmaBuf.fromMemory} creates one from several
   * ranges. IOMMUFD cannot map such dma-bufs (mapMemory needs none); other importers can.
   *
   * @throws KernelError ENOENT: no udmabuf driver. EINVAL: not page-aligned, or over the driver's size limit.
   */
  exportDmaBuf(opts?: { offset?: number | bigint; length?: number | bigint }): DmaBuf {
    const { fdHandle } = this;
    const { offset, length } = options(opts, ['offset', 'length']);
    const start = u64(offset ?? 0n, 'offset', 0n, BigInt(this.size));
    const count = u64(length ?? BigInt(this.size) - start, 'length', 1n, BigInt(this.size) - start);
    const kernel = this.#kernel;
    const args = { path: udmabufPath, offset: start, size: count };
    const handle = withUdmabuf(kernel, (driver) =>
      kernelCall(args, () => native.udmabufCreate(driver, fdHandle, start, count), { kernel }),
    );
    return new DmaBuf(key, kernel, handle);
  }

  /** The memfd's seals. New memory has the 'shrink' seal, which /dev/udmabuf requires and which prevents SIGBUS. */
  get seals(): Seal[] {
    const word = kernelCall({}, () => native.memorySeals(this.fdHandle));
    return sealNames.filter((name) => (word & sealBits[name]) !== 0);
  }

  /**
   * Adds seals to the memory permanently (fcntl F_ADD_SEALS). 'grow': the memfd cannot grow. 'future-write': other
   * users of the fd can only read, but existing mappings stay writable; /dev/udmabuf then no longer accepts the memory.
   * 'seal': no further seals can be added.
   *
   * @throws KernelError EBUSY: 'write', because the memory is mapped in this process. EPERM: 'seal' is already set.
   */
  seal(...seals: Seal[]): void {
    const word = seals.reduce((sum, name) => sum | sealBits[oneOf(name, 'seals', sealNames)], 0);
    kernelCall({ seals: seals.join(' ') }, () => native.memorySeal(this.fdHandle, word));
  }

  /** Unmaps and closes the memory. If an IOAS maps it, the pages stay allocated until the unmap. */
  override close(): void {
    super.close();
  }
}
