// Region: a region of a device, with reads, writes and mapping.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { codedError, kernelCall } from '../errors/errors';
import { native } from '../addon/native';
import { bytes as toBytes, integer, options, u64 } from '../errors/validate';
import { regionCapabilities, type RegionCapability } from './capabilities';
import { configRegion, regionFlags, regionNames } from './constants';
import { Ioeventfd, type IoeventfdOptions } from './ioeventfd';
import { MappedRegion } from './mapped-region';
import { ofCmb } from './export';
import { wholePages, type RegionRange } from './ranges';

const lastBar = 5;

/**
 * A region of a device: a BAR (index 0 to 5), the expansion ROM (6), PCI config space (7), VGA (8).
 *
 * The accessors use pread and pwrite. If the offset is a multiple of the width, the kernel makes one access of this
 * width. They also work for regions that cannot be mapped: I/O ports, config space, a page with an MSI-X table.
 */
export class Region {
  readonly device: Parents['VfioDevice'];
  readonly index: number;
  /** 'bar0' … 'bar5', 'rom', 'config', 'vga'. Undefined for a device-specific region. */
  readonly name: string | undefined;
  /** The size in bytes. 0: the device does not have the region. */
  readonly size: bigint;
  /** Whether the region can be read, written and mapped. */
  readonly flags: { readonly read: boolean; readonly write: boolean; readonly mmap: boolean };
  readonly capabilities: readonly RegionCapability[];
  readonly #offset: bigint;

  static {
    shown(this, 'index', 'name', 'size', 'flags', ['device', ({ device }) => device.address]);
  }

  /** @internal */
  constructor(made: Key, device: Parents['VfioDevice'], index: number) {
    onlyInside(made, 'Region', 'use VfioDevice#region()');
    this.device = device;
    this.index = index;
    this.name = regionNames[index];
    const info = kernelCall({ region: index }, () => native.vfioRegionInfo(device.handle, index));
    this.size = info.size;
    this.flags = Object.freeze({
      read: (info.flags & regionFlags.read) !== 0,
      write: (info.flags & regionFlags.write) !== 0,
      mmap: (info.flags & regionFlags.mmap) !== 0,
    });
    this.capabilities = regionCapabilities(info);
    this.#offset = info.offset;
  }

  /** The offset of the region in the device's file. @internal */
  get fileOffset(): bigint {
    return this.#offset;
  }

  /**
   * Returns the parts that can be mapped, in ascending order: the whole region, the areas of the driver's sparse-mmap
   * capability, or nothing. Offsets and lengths in bytes, relative to the region's start. A BAR that is smaller than a
   * page is one range, and mapping it maps its whole page.
   */
  mappableRanges(): RegionRange[] {
    if (!this.flags.mmap || this.size === 0n) return [];
    const sparse = this.capabilities.find((capability) => capability.type === 'sparse-mmap');
    if (!sparse) return [data({ offset: 0n, length: this.size })];
    return sparse.areas
      .filter(({ offset, size }) => size > 0n && offset < this.size && size <= this.size - offset)
      .map(({ offset, size }) => data({ offset, length: size }))
      .sort((a, b) => (a.offset < b.offset ? -1 : 1));
  }

  /**
   * Returns the parts that can be exported as dma-bufs safely, in ascending order: the whole pages of a memory
   * BAR except those that contain the MSI-X table or its pending bits. The kernel would export these pages, too, but a
   * process with access to them can make the device raise any interrupt, and can make writes that the PCI specification
   * forbids. Offsets and lengths in bytes, relative to the BAR's start.
   */
  exportableRanges(): RegionRange[] {
    if (this.index > lastBar || !this.flags.mmap) return [];
    const msix = this.device.pciCapabilities().find((capability) => capability.type === 'msi-x');
    const parts = msix ? [msix.table, msix.pendingBits].filter(({ bar }) => bar === this.index) : [];
    return wholePages(
      this.size,
      parts.map(({ offset, size }) => ({ offset: BigInt(offset), length: BigInt(size) })),
    );
  }

  /**
   * Maps the region, or a page-aligned part of it, for access without system calls. Without options, maps the mappable
   * range if there is exactly one.
   *
   * @throws Error ERR_NOT_MAPPABLE: the driver allows mapping only of parts of the region, which the error lists, and
   *   the range is not within one of them. KernelError EINVAL: the region cannot be mapped (see `flags.mmap`).
   *   RangeError: outside the region.
   */
  map(opts?: { offset?: number | bigint; length?: number | bigint }): MappedRegion {
    const { offset, length } = options(opts, ['offset', 'length'], 'options', ['region', ...ofCmb]);
    const ranges = this.mappableRanges();
    const only = offset === undefined && length === undefined && ranges.length === 1 ? ranges[0] : undefined;
    const start = only?.offset ?? u64(offset ?? 0n, 'offset', 0n, this.size);
    const count = only?.length ?? u64(length ?? this.size - start, 'length', 0n, this.size - start);
    const inside = ranges.some((range) => start >= range.offset && start + count <= range.offset + range.length);
    if (this.flags.mmap && !inside) {
      const parts = ranges.map(
        (range) => `0x${range.offset.toString(16)}-0x${(range.offset + range.length - 1n).toString(16)}`,
      );
      throw codedError(
        'ERR_NOT_MAPPABLE',
        `only these parts of the region can be mapped: ${parts.join(', ') || 'none'}`,
      );
    }
    const mapping = kernelCall({ region: this.index, offset: start, length: count }, () =>
      native.vfioMap(this.device.handle, this.#offset + start, count, this.flags.write),
    );
    const mapped = new MappedRegion(key, this, start, count, mapping);
    this.device.file.adopt(mapped);
    return mapped;
  }

  /**
   * Makes the kernel write to a register each time an eventfd is signalled (VFIO_DEVICE_IOEVENTFD), until the returned
   * object is closed. Memory space must be on. If the eventfd's counter is not 0, the kernel writes at once.
   *
   * @throws KernelError EINVAL: not a BAR, past its end, or in an MSI-X table. EEXIST: the same write is registered
   *   already. ENOSPC: the device has the maximum of 1000 ioeventfds.
   */
  ioeventfd(opts: IoeventfdOptions): Ioeventfd {
    return new Ioeventfd(key, this, this.#offset, opts);
  }

  /**
   * Reads into `bytes`, starting at `offset`. Returns the number of bytes read, which is less than requested at the
   * region's end.
   *
   * @throws KernelError EIO: memory space is off. EINVAL: past the end, or no such region.
   */
  read(offset: number | bigint, bytes: Uint8Array): number {
    const at = this.#at(offset);
    toBytes(bytes, 'bytes');
    return kernelCall({ region: this.index, offset: at, length: bytes.length }, () =>
      native.vfioRead(this.device.handle, this.#offset + at, bytes),
    );
  }

  /**
   * Writes `bytes`, starting at `offset`. Returns the number of bytes written, which is less than requested at the
   * region's end.
   */
  write(offset: number | bigint, bytes: Uint8Array): number {
    const at = this.#at(offset);
    toBytes(bytes, 'bytes');
    const written = kernelCall({ region: this.index, offset: at, length: bytes.length }, () =>
      native.vfioWrite(this.device.handle, this.#offset + at, bytes),
    );
    if (this.index === configRegion) this.device.file.changed();
    return written;
  }

  /** Limits offsets to 2^40 - 1, so that they cannot reach the next region in the device's file. */
  #at(offset: number | bigint): bigint {
    return u64(offset, 'offset', 0n, (1n << 40n) - 1n);
  }

  /** One read of 8 bits. */
  read8(offset: number | bigint): number {
    return this.#get(offset, 1).getUint8(0);
  }

  /** One read of 16 bits. */
  read16(offset: number | bigint): number {
    return this.#get(offset, 2).getUint16(0, true);
  }

  /** One read of 32 bits. */
  read32(offset: number | bigint): number {
    return this.#get(offset, 4).getUint32(0, true);
  }

  /** One read of 64 bits. */
  read64(offset: number | bigint): bigint {
    return this.#get(offset, 8).getBigUint64(0, true);
  }

  /** One write of 8 bits. */
  write8(offset: number | bigint, value: number): void {
    this.#set(offset, 1, BigInt(integer(value, 'value', 0, 0xff)));
  }

  /** One write of 16 bits. */
  write16(offset: number | bigint, value: number): void {
    this.#set(offset, 2, BigInt(integer(value, 'value', 0, 0xffff)));
  }

  /** One write of 32 bits. */
  write32(offset: number | bigint, value: number): void {
    this.#set(offset, 4, BigInt(integer(value, 'value', 0, 0xffff_ffff)));
  }

  /** One write of 64 bits. */
  write64(offset: number | bigint, value: number | bigint): void {
    this.#set(offset, 8, u64(value, 'value'));
  }

  #get(offset: number | bigint, width: number): DataView {
    const bytes = new Uint8Array(width);
    this.#inside(offset, width);
    this.read(offset, bytes);
    return new DataView(bytes.buffer);
  }

  #set(offset: number | bigint, width: number, value: bigint): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    this.#inside(offset, width);
    this.write(offset, bytes.subarray(0, width));
  }

  /** Checks that the whole register is within the region. A partial access would return a wrong value. */
  #inside(offset: number | bigint, width: number): void {
    u64(offset, 'offset', 0n, this.size < width ? 0n : this.size - BigInt(width));
  }
}
