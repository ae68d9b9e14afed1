// ContainerSpace: makes and removes the mappings of a container.
import { key } from '../errors/key';
import { DmaMemory } from '../dmabuf/dma-memory';
import { closedError, codedError } from '../errors/errors';
import { toPlacement, type MapOptions, type Placement } from '../iommufd/placement';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
import { instance, u64, u64Max } from '../errors/validate';
import { ContainerFile } from './container-file';
import { DmaMapping } from './dma-mapping';
import { findHole } from './iova-hole';
import { Region } from './region';

// linux/vfio.h
const accessBits = { readable: 1 << 0, writable: 1 << 1, vaddr: 1 << 2 } as const;
const unmapFlags = { none: 0, all: 1 << 1, vaddr: 1 << 2 } as const;
// Placements use IOMMUFD's flags: linux/iommufd.h
const [mapWritable, mapReadable] = [2n, 4n];

/** A mapping that another thread is making. `unmapped` is set if its range was unmapped in the meantime. */
interface UnderWay {
  iova: bigint;
  length: bigint;
  unmapped: boolean;
}

/** A container's I/O address space. */
export abstract class ContainerSpace extends ContainerFile {
  readonly #mappings = new Set<DmaMapping>();
  readonly #underWay = new Set<UnderWay>();

  /** The mappings that were made by this object and not unmapped. */
  override get mappings(): DmaMapping[] {
    return [...this.#mappings];
  }

  /**
   * Maps host memory (VFIO_IOMMU_MAP_DMA). The kernel pins the pages, which takes time, and charges them to
   * RLIMIT_MEMLOCK of the process. The pages stay mapped after the memory is closed.
   *
   * @param opts.iova default: the lowest free IOVAs
   * @throws KernelError ENOMEM: over RLIMIT_MEMLOCK. EEXIST: the IOVAs are in use. EINVAL: misaligned, IOVAs that are
   *   not usable, or no IOMMU is set. ENOSPC: too many mappings. Error ERR_NO_ROOM: no free IOVAs. ERR_CLOSED: the
   *   container was closed, or the range unmapped, during the call.
   */
  async mapMemory(memory: DmaMemory, opts?: MapOptions): Promise<DmaMapping> {
    const { placement, iova, file, call, args } = this.#toMemory(memory, opts);
    const underWay: UnderWay = { iova, length: placement.length, unmapped: false };
    this.#underWay.add(underWay);
    let pages: MappingHandle | undefined;
    try {
      pages = await this.callLater(args, () => native.containerMapMemory(...call, true));
      if (this.closed) throw closedError('VFIO container');
      if (underWay.unmapped) {
        // The kernel may have made the mapping before or after the unmap. If another mapping overlaps the range now,
        // the unmap removed this one. Otherwise, unmap it now.
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

  /** Synchronous version of {@link mapMemory}. */
  mapMemorySync(memory: DmaMemory, opts?: MapOptions): DmaMapping {
    const { placement, iova, file, call, args } = this.#toMemory(memory, opts);
    try {
      const pages = this.call(args, () => native.containerMapMemory(...call, false));
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
   * Maps a part of a device's BAR, so that the devices of the container can access it (VFIO_IOMMU_MAP_DMA of its mmap):
   * peer-to-peer DMA without IOMMUFD. It does not matter how the device was opened. Nothing is charged to
   * RLIMIT_MEMLOCK.
   *
   * Unlike a mapping of a dma-buf, **this mapping is never revoked**. It persists through resets. While the device does
   * not decode memory, DMA to it is lost without a fault. The kernel would even keep the mapping after another process
   * opens the device. Therefore, this library closes the mapping before the device.
   *
   * @throws KernelError EFAULT: the device does not decode memory. EINVAL: as for {@link mapMemory}, or the region
   *   cannot be mapped. EEXIST, ENOSPC, Error ERR_NO_ROOM: as for {@link mapMemory}. ERR_OTHER_KERNEL.
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
    const pages = this.call(args, () =>
      native.containerMapRegion(handle, at, fileOffset + offset, length, iova, toFlags(placement), flags.write),
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

  #remember(iova: bigint, source: ConstructorParameters<typeof DmaMapping>[3]): DmaMapping {
    const mapping = new DmaMapping(key, this, iova, source);
    this.#mappings.add(mapping);
    return mapping;
  }

  /** @internal */
  drop(mapping: DmaMapping): void {
    this.#mappings.delete(mapping);
  }

  /** Unmaps a mapping. @internal */
  unplace(iova: bigint, length: bigint): void {
    const { handle } = this;
    this.call({ iova, length }, () => native.containerUnmap(handle, iova, length, unmapFlags.none, false));
  }

  /** Unmaps a mapping on another thread. @internal */
  async unplaceLater(iova: bigint, length: bigint): Promise<void> {
    const { handle } = this;
    const call = () => native.containerUnmap(handle, iova, length, unmapFlags.none, true);
    await this.callLater({ iova, length }, call);
  }

  /** Gives the kernel a new address of the memory of a mapping whose address is invalid. @internal */
  renew(memory: FdHandle, offset: bigint, length: bigint, iova: bigint): MappingHandle {
    const call = [this.handle, memory, offset, length, iova, accessBits.vaddr] as const;
    return this.call({ iova, offset, length }, () => native.containerMapMemory(...call, false));
  }

  /**
   * Unmaps all mappings in the range (VFIO_IOMMU_UNMAP_DMA). Returns the number of bytes unmapped, which may be 0.
   * Without arguments, unmaps everything (VFIO_DMA_UNMAP_FLAG_ALL).
   *
   * @throws KernelError EINVAL: the range cuts a mapping or is misaligned, or no IOMMU is set.
   */
  unmap(iova?: number | bigint, length?: number | bigint): bigint {
    const { handle } = this;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? 0n : u64(length, 'length', 1n);
    const flags = all ? unmapFlags.all : unmapFlags.none;
    const unmapped = this.call({ iova: first, length: count }, () =>
      native.containerUnmap(handle, first, count, flags, false),
    );
    this.dropIn(first, all ? u64Max + 1n : first + count);
    return unmapped;
  }

  /**
   * Invalidates the process addresses of the mappings in a range (VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_VADDR).
   * Without arguments, invalidates those of all mappings. Nothing is unmapped. Call this before another process takes
   * over the memory. Until {@link DmaMapping.renewAddress} was called for each mapping, no group can be added to the
   * container. Returns the number of bytes whose addresses were invalidated.
   *
   * @throws KernelError EINVAL: an address is invalid already, or the range cuts a mapping or is misaligned. EBUSY:
   *   there are mediated devices.
   */
  invalidateAddresses(iova?: number | bigint, length?: number | bigint): bigint {
    const { handle } = this;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? 0n : u64(length, 'length', 1n);
    const flags = unmapFlags.vaddr | (all ? unmapFlags.all : unmapFlags.none);
    const invalidated = this.call({ iova: first, length: count }, () =>
      native.containerUnmap(handle, first, count, flags, false),
    );
    for (const mapping of this.#mappings) {
      if (all || (mapping.iova >= first && mapping.iova < first + count)) mapping.invalidated();
    }
    return invalidated;
  }

  /** Closes the mappings that the kernel has unmapped in this range. @internal */
  protected dropIn(first: bigint, end: bigint): void {
    for (const call of this.#underWay) {
      if (call.iova < end && first < call.iova + call.length) call.unmapped = true;
    }
    const touched = this.mappings.filter((mapping) => mapping.iova < end && first < mapping.iova + mapping.length);
    // With 'TYPE1' (version 1), a range that starts within a mapping unmaps nothing.
    if (touched.some((mapping) => mapping.iova < first)) return;
    for (const mapping of touched) mapping.gone();
  }

  /** @internal */
  protected override unmapped(): void {
    for (const call of this.#underWay) call.unmapped = true;
    for (const mapping of this.mappings) mapping.gone();
  }

  /** @internal */
  protected override unmapRegions(): unknown[] {
    const errors = [];
    for (const mapping of this.mappings.filter(({ region }) => region)) {
      try {
        mapping.close();
      } catch (error) {
        errors.push(error);
        mapping.gone(); // the kernel unmaps it with the last group
      }
    }
    return errors;
  }
}

function toFlags({ access }: Placement): number {
  return (
    ((access & mapReadable) === 0n ? 0 : accessBits.readable) |
    ((access & mapWritable) === 0n ? 0 : accessBits.writable)
  );
}
