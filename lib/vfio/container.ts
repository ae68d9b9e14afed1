import { Calls } from '../calls';
import { toKernel } from '../default-kernel';
import { DmaMemory } from '../dmabuf/dma-memory';
import { closedError, codedError, kernelCall, kernelCallAsync, KernelError } from '../errors';
import type { Dependent } from '../iommufd/iommufd';
import { toPlacement, type MapOptions, type Placement } from '../iommufd/placement';
import type { Kernel } from '../kernel';
import { expectClose, wasClosed } from '../lost';
import { native, type FdHandle, type MappingHandle } from '../native';
import { instance, oneOf, options, outOfRange, string, u64, u64Max } from '../validate';
import { toContainerInfo, type ContainerInfo } from './container-info';
import { toDirtyRanges, type DirtyRange } from './dirty-pages';
import { DmaMapping } from './dma-mapping';
import { findHole } from './iova-hole';
import { Region } from './region';

// linux/vfio.h
const extensions = {
  TYPE1_IOMMU: 1,
  TYPE1v2_IOMMU: 3,
  DMA_CC_IOMMU: 4,
  NOIOMMU_IOMMU: 8,
  UNMAP_ALL: 9,
  UPDATE_VADDR: 10,
} as const;
const iommuTypes = { TYPE1: 1, TYPE1v2: 3 } as const;
const accessBits = { readable: 1 << 0, writable: 1 << 1, vaddr: 1 << 2 } as const;
const unmapFlags = { none: 0, all: 1 << 1, vaddr: 1 << 2 } as const;
// Of IOMMUFD, which placements are in: linux/iommufd.h
const [mapWritable, mapReadable] = [2n, 4n];

/** What the kernel takes for the bitmap of one call: 2^31 - 1 pages. */
const mostDirtyPages = 0x7fff_ffffn;

/** What a container can be asked for, by the kernel's names. */
export type ContainerExtension = keyof typeof extensions;

/** The interfaces that a container's IOMMU can have. 'TYPE1' also lets the middle of mappings be named in unmaps. */
export type IommuType = keyof typeof iommuTypes;

/** What takes part in unmapping while a pool thread maps. */
interface UnderWay {
  iova: bigint;
  length: bigint;
  unmapped: boolean;
}

/**
 * A container (/dev/vfio/vfio): IOMMU groups that share one I/O address space. It is VFIO's older interface, for kernels
 * without IOMMUFD.
 *
 * What is mapped is there for all devices of its groups, and as long as a group is in it. dma-bufs cannot be mapped: a peer's
 * BAR goes in with {@link mapRegion}.
 */
export class VfioContainer {
  readonly kernel: Kernel;
  /** @internal */
  readonly calls = new Calls();
  readonly #handle: FdHandle;
  readonly #groups = new Set<Dependent>();
  readonly #mappings = new Set<DmaMapping>();
  readonly #underWay = new Set<UnderWay>();
  #iommu: IommuType | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  private constructor(kernel: Kernel, handle: FdHandle) {
    this.kernel = kernel;
    this.#handle = handle;
    expectClose(this, 'VFIO container');
  }

  /**
   * Makes a container.
   *
   * @param opts.path default /dev/vfio/vfio
   * @throws KernelError ENOENT: this kernel has no containers. EACCES: this user may not open it.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): VfioContainer {
    const { kernel: chosen, path: given } = options(opts);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/vfio/vfio' : string(given, 'path');
    const fd = kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel });
    return new VfioContainer(kernel, fd);
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @internal */
  get handle(): FdHandle {
    if (this.#closed) throw closedError('VFIO container');
    return this.#handle;
  }

  /** The IOMMU's interface that this object has chosen, as long as a group is in the container. */
  get iommu(): IommuType | undefined {
    return this.#iommu;
  }

  /** What was mapped here and not unmapped. */
  get mappings(): DmaMapping[] {
    return [...this.#mappings];
  }

  /** The interface's version: 0 (VFIO_GET_API_VERSION). */
  apiVersion(): number {
    return kernelCall({}, () => native.containerApiVersion(this.handle));
  }

  /** Whether the kernel has an interface or an extension (VFIO_CHECK_EXTENSION); some show only once the IOMMU is set. */
  checkExtension(extension: ContainerExtension): boolean {
    const number = extensions[oneOf(extension, 'extension', Object.keys(extensions) as ContainerExtension[])];
    return kernelCall({ extension }, () => native.containerExtension(this.handle, number)) > 0;
  }

  /**
   * Chooses the interface of the IOMMU, once a group is in the container (VFIO_SET_IOMMU). {@link VfioDevice.open} does that by
   * itself.
   *
   * @throws KernelError EINVAL: no group is in it, or it is chosen already. ENODEV: this kernel does not have it. EPERM:
   *   interrupts are not isolated.
   */
  async setIommu(type: IommuType = 'TYPE1v2'): Promise<void> {
    const [handle, number] = [this.handle, toIommuType(type)];
    await this.calls.add(
      kernelCallAsync({ type }, () => native.containerSetIommu(handle, number, true), { container: this }),
    );
    if (this.#closed) throw closedError('VFIO container');
    this.#iommu = type;
  }

  /** {@link setIommu}, waiting. */
  setIommuSync(type: IommuType = 'TYPE1v2'): void {
    const number = toIommuType(type);
    kernelCall(
      { type },
      () => {
        native.containerSetIommu(this.handle, number, false);
      },
      { container: this },
    );
    this.#iommu = type;
  }

  /** Has an IOMMU. @internal */
  async ready(): Promise<void> {
    if (this.#iommu !== undefined) return;
    try {
      await this.setIommu();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** The same, waiting. @internal */
  readySync(): void {
    if (this.#iommu !== undefined) return;
    try {
      this.setIommuSync();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** Another call has chosen it meanwhile. */
  #unlessChosen(error: unknown): void {
    if (!(error instanceof KernelError && error.code === 'EINVAL' && this.#hasIommu())) throw error;
    this.#iommu ??= 'TYPE1v2';
  }

  #hasIommu(): boolean {
    try {
      this.info();
      return true;
    } catch {
      return false;
    }
  }

  /**
   * What the IOMMU can do (VFIO_IOMMU_GET_INFO).
   *
   * @throws KernelError EINVAL: no IOMMU is set.
   */
  info(): ContainerInfo {
    return toContainerInfo(kernelCall({}, () => native.containerInfo(this.handle), { container: this }));
  }

  /**
   * Maps host memory (VFIO_IOMMU_MAP_DMA). The pages are pinned, which takes time and is charged to RLIMIT_MEMLOCK, per
   * process; they stay mapped after the memory is closed.
   *
   * @param opts.iova default: the lowest IOVAs that are free
   * @throws KernelError ENOMEM: over RLIMIT_MEMLOCK. EEXIST: the IOVAs are taken. EINVAL: misaligned, IOVAs that are not usable,
   *   or no IOMMU is set. ENOSPC: too many mappings. Error ERR_NO_ROOM: no free IOVAs. ERR_CLOSED: the container was closed,
   *   or the range unmapped, while the call was under way.
   */
  async mapMemory(memory: DmaMemory, opts?: MapOptions): Promise<DmaMapping> {
    const { placement, iova, file, call, args } = this.#toMemory(memory, opts);
    const underWay: UnderWay = { iova, length: placement.length, unmapped: false };
    this.#underWay.add(underWay);
    let pages: MappingHandle | undefined;
    try {
      pages = await this.calls.add(
        kernelCallAsync(args, () => native.containerMapMemory(...call, true), { container: this }),
      );
      if (this.#closed) throw closedError('VFIO container');
      if (underWay.unmapped) {
        // Before or after the kernel made it. If something is there that is not it, it was before.
        if (!this.#overlaps(iova, placement.length)) await this.unplaceLater(iova, placement.length);
        throw closedError('mapping');
      }
    } catch (error) {
      if (pages) native.mappingRetire(pages);
      native.fdClose(file, false);
      throw error;
    } finally {
      this.#underWay.delete(underWay);
    }
    return this.#remember(iova, { ...placement, region: undefined, memory: file, pages });
  }

  /** {@link mapMemory}, waiting. */
  mapMemorySync(memory: DmaMemory, opts?: MapOptions): DmaMapping {
    const { placement, iova, file, call, args } = this.#toMemory(memory, opts);
    try {
      const pages = kernelCall(args, () => native.containerMapMemory(...call, false), { container: this });
      return this.#remember(iova, { ...placement, region: undefined, memory: file, pages });
    } catch (error) {
      native.fdClose(file, false);
      throw error;
    }
  }

  #toMemory(memory: DmaMemory, opts?: MapOptions) {
    const { size, fdHandle } = instance(memory, 'memory', DmaMemory);
    const placement = toPlacement(opts, BigInt(size));
    const { offset, length } = placement;
    const { handle } = this;
    const iova = this.#toIova(placement);
    const file = native.fdShare(fdHandle);
    const call = [handle, file, offset, length, iova, toFlags(placement)] as const;
    return { placement, iova, file, call, args: { iova, offset, length } };
  }

  /**
   * Maps a part of a device's BAR, so that devices of the container reach it (VFIO_IOMMU_MAP_DMA of its mmap): peer-to-peer
   * without IOMMUFD. The device may have been opened in any way. Nothing is charged to RLIMIT_MEMLOCK.
   *
   * Not as with dma-bufs, **nobody revokes such a mapping**: it goes on through resets; while the device does not decode memory, DMA
   * to it is lost without a fault; and the kernel would leave it in place even when the device goes to somebody else. So this
   * library closes it before the device.
   *
   * @throws KernelError EFAULT: the device does not decode memory. EINVAL: as for {@link mapMemory}, or the region cannot be mapped.
   *   EEXIST, ENOSPC, Error ERR_NO_ROOM: as for {@link mapMemory}. ERR_OTHER_KERNEL.
   */
  mapRegion(region: Region, opts?: MapOptions): DmaMapping {
    const { size, device, fileOffset, flags, index } = instance(region, 'region', Region);
    if (device.kernel !== this.kernel) throw codedError('ERR_OTHER_KERNEL', 'the region belongs to another kernel');
    const placement = toPlacement(opts, size);
    const { offset, length } = placement;
    const { handle } = this;
    const at = device.handle;
    const iova = this.#toIova(placement);
    const args = { region: index, iova, offset, length };
    const pages = kernelCall(
      args,
      () => native.containerMapRegion(handle, at, fileOffset + offset, length, iova, toFlags(placement), flags.write),
      { container: this },
    );
    return this.#remember(iova, { ...placement, region, memory: undefined, pages });
  }

  #toIova({ iova, length }: Placement): bigint {
    if (iova !== undefined) return iova;
    const taken = [...this.#mappings, ...this.#underWay];
    const hole = findHole(this.info().iovaRanges ?? [{ start: 0n, last: u64Max }], taken, length);
    if (hole === undefined) throw codedError('ERR_NO_ROOM', `no free IOVAs for ${String(length)} bytes`);
    return hole;
  }

  #overlaps(iova: bigint, length: bigint): boolean {
    return this.mappings.some((other) => other.iova < iova + length && iova < other.iova + other.length);
  }

  #remember(iova: bigint, source: ConstructorParameters<typeof DmaMapping>[2]): DmaMapping {
    const mapping = new DmaMapping(this, iova, source);
    this.#mappings.add(mapping);
    return mapping;
  }

  /** @internal */
  drop(mapping: DmaMapping): void {
    this.#mappings.delete(mapping);
  }

  /** Takes a mapping out. @internal */
  unplace(iova: bigint, length: bigint): void {
    const { handle } = this;
    kernelCall({ iova, length }, () => native.containerUnmap(handle, iova, length, unmapFlags.none, false), {
      container: this,
    });
  }

  /** The same on a pool thread. @internal */
  async unplaceLater(iova: bigint, length: bigint): Promise<void> {
    const { handle } = this;
    const call = () => native.containerUnmap(handle, iova, length, unmapFlags.none, true);
    await this.calls.add(kernelCallAsync({ iova, length }, call, { container: this }));
  }

  /** Maps memory anew for a mapping whose address is invalid. @internal */
  renew(memory: FdHandle, offset: bigint, length: bigint, iova: bigint): MappingHandle {
    const call = [this.handle, memory, offset, length, iova, accessBits.vaddr] as const;
    return kernelCall({ iova, offset, length }, () => native.containerMapMemory(...call, false), { container: this });
  }

  /**
   * Unmaps all mappings in the range; returns the bytes unmapped, which may be 0. Without arguments, everything
   * (VFIO_IOMMU_UNMAP_DMA, VFIO_DMA_UNMAP_FLAG_ALL).
   *
   * @throws KernelError EINVAL: the range cuts a mapping, or is misaligned; or no IOMMU is set.
   */
  unmap(iova?: number | bigint, length?: number | bigint): bigint {
    const { handle } = this;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? 0n : u64(length, 'length', 1n);
    const flags = all ? unmapFlags.all : unmapFlags.none;
    const unmapped = kernelCall(
      { iova: first, length: count },
      () => native.containerUnmap(handle, first, count, flags, false),
      { container: this },
    );
    this.#dropIn(first, all ? u64Max + 1n : first + count);
    return unmapped;
  }

  /**
   * Unmaps all mappings in the range, and tells which of their pages are dirty (VFIO_IOMMU_UNMAP_DMA with
   * VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP), so that no write is lost in between.
   *
   * @throws KernelError EINVAL: as for {@link unmap}; or dirty pages are not tracked.
   */
  unmapDirty(iova: number | bigint, length: number | bigint): { unmapped: bigint; dirty: DirtyRange[] } {
    const { handle } = this;
    const { first, count, pageSize } = this.#toDirtyRange(iova, length);
    const { unmapped, bitmap } = kernelCall(
      { iova: first, length: count },
      () => native.containerUnmapDirty(handle, first, count, pageSize),
      { container: this },
    );
    this.#dropIn(first, first + count);
    return { unmapped, dirty: toDirtyRanges(bitmap, first, pageSize) };
  }

  /** What the kernel has unmapped between these. */
  #dropIn(first: bigint, end: bigint): void {
    for (const call of this.#underWay) {
      if (call.iova < end && first < call.iova + call.length) call.unmapped = true;
    }
    const touched = this.mappings.filter((mapping) => mapping.iova < end && first < mapping.iova + mapping.length);
    // Of version 1, a range that begins within a mapping unmaps nothing.
    if (touched.some((mapping) => mapping.iova < first)) return;
    for (const mapping of touched) mapping.gone();
  }

  /**
   * Starts to track dirty pages (VFIO_IOMMU_DIRTY_PAGES). Type 1 knows only what drivers pin: behind an IOMMU every mapped
   * page counts as dirty. No error if it is started already.
   *
   * @throws KernelError EINVAL: no IOMMU is set. EACCES: it is 'TYPE1'.
   */
  startDirtyTracking(): void {
    this.#trackDirtyPages(true);
  }

  /** Stops it. No error if it is not started. */
  stopDirtyTracking(): void {
    this.#trackDirtyPages(false);
  }

  #trackDirtyPages(start: boolean): void {
    kernelCall(
      {},
      () => {
        native.containerTrackDirtyPages(this.handle, start);
      },
      { container: this },
    );
  }

  /**
   * The dirty pages of a range, in whole mappings, ascending (VFIO_IOMMU_DIRTY_PAGES).
   *
   * @throws KernelError EINVAL: not started; the range cuts a mapping, or is misaligned. EACCES: the IOMMU is 'TYPE1'. RangeError: more
   *   than 2^31 - 1 pages.
   */
  dirtyPages(iova: number | bigint, length: number | bigint): DirtyRange[] {
    const { handle } = this;
    const { first, count, pageSize } = this.#toDirtyRange(iova, length);
    const bitmap = kernelCall(
      { iova: first, length: count },
      () => native.containerDirtyPages(handle, first, count, pageSize),
      { container: this },
    );
    return toDirtyRanges(bitmap, first, pageSize);
  }

  #toDirtyRange(iova: number | bigint, length: number | bigint) {
    const first = u64(iova, 'iova');
    const wanted = u64(length, 'length', 1n);
    const { dirtyTracking, pageSizes } = this.info();
    const pageSize = dirtyTracking?.pageSizes[0] ?? pageSizes[0] ?? 4096n;
    // As the kernel sees it, which refuses what is larger than all that is mapped can be.
    const most = mostDirtyPages * pageSize;
    if (wanted > most) throw outOfRange('length', `<= ${String(most)}`, length);
    return { first, count: wanted, pageSize };
  }

  /**
   * Makes the addresses of the mappings in a range invalid (VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_VADDR), of all without
   * arguments; nothing is unmapped. It is for a process that is about to hand its memory over. Until each is renewed by
   * {@link DmaMapping.renewAddress}, no group can join the container. Returns the bytes concerned.
   *
   * @throws KernelError EINVAL: an address is invalid already; the range cuts a mapping or is misaligned. EBUSY: there are
   *   mediated devices.
   */
  invalidateAddresses(iova?: number | bigint, length?: number | bigint): bigint {
    const { handle } = this;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? 0n : u64(length, 'length', 1n);
    const flags = unmapFlags.vaddr | (all ? unmapFlags.all : unmapFlags.none);
    const invalidated = kernelCall(
      { iova: first, length: count },
      () => native.containerUnmap(handle, first, count, flags, false),
      { container: this },
    );
    for (const mapping of this.#mappings) {
      if (all || (mapping.iova >= first && mapping.iova < first + count)) mapping.invalidated();
    }
    return invalidated;
  }

  /** Notes a group that is in here, to close it before the container. @internal */
  adopt(group: Dependent): void {
    this.#groups.add(group);
  }

  /** @internal */
  forget(group: Dependent): void {
    this.#groups.delete(group);
    if (this.#groups.size === 0) this.#deprive();
  }

  /** The kernel takes the IOMMU away with the last group. */
  #deprive(): void {
    this.#iommu = undefined;
    for (const call of this.#underWay) call.unmapped = true;
    for (const mapping of this.mappings) mapping.gone();
  }

  /**
   * Closes the groups in here with their devices, and with them all that is mapped. If one of them cannot be closed, the rest is
   * closed all the same, and its error is thrown at the end. Calls that are under way on pool threads are finished;
   * `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  close(): void {
    if (this.#closed) return;
    const errors: unknown[] = [];
    for (const group of [...this.#groups]) {
      try {
        group.close();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#gone();
    native.fdClose(this.#handle, false);
    if (errors.length > 0) throw errors[0];
  }

  #gone(): void {
    this.#closed = true;
    wasClosed(this);
    for (const mapping of this.mappings) mapping.gone();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on pool threads, for `await using`: the kernel resets devices and unpins memory. Waits for calls that are under
   * way. From the start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closed
      ? this.calls.idle()
      : this.#closeLater().finally(() => {
          this.#closing = Promise.resolve(); // its error was told
        });
    return this.#closing;
  }

  async #closeLater(): Promise<void> {
    // Regions must not be mapped any more when their devices are closed.
    for (const mapping of this.mappings) if (mapping.region) mapping.close();
    this.#closed = true;
    const errors: unknown[] = [];
    await this.calls.idle();
    for (const group of [...this.#groups]) {
      try {
        await group[Symbol.asyncDispose]();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#gone();
    await native.fdClose(this.#handle, true);
    if (errors.length > 0) throw errors[0];
  }
}

function toIommuType(type: IommuType): number {
  return iommuTypes[oneOf(type, 'type', Object.keys(iommuTypes) as IommuType[])];
}

function toFlags({ access }: Placement): number {
  return (
    ((access & mapReadable) === 0n ? 0 : accessBits.readable) |
    ((access & mapWritable) === 0n ? 0 : accessBits.writable)
  );
}
