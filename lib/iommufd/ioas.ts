// Ioas: an I/O address space. Makes, copies and removes mappings.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { EventEmitter } from 'node:events';
import type { Calls } from '../lifetime/calls';
import { duplicate } from '../kernel/duplicate';
import type { Watcher } from '../kernel/kernel';
import { attempt } from '../kernel/look';
import { DmaBuf } from '../dmabuf/dma-buf';
import { DmaMemory } from '../dmabuf/dma-memory';
import type { Exported } from '../dmabuf/exported';
import {
  closedError,
  codedError,
  explain,
  kernelCall,
  kernelCallAsync,
  KernelError,
  type KernelErrorArguments,
} from '../errors/errors';
import { Lifetime, type Child, type End } from '../lifetime/lifetime';
import { ioasWord, native, type FdHandle, type IoasHandle, type NativeIoas } from '../addon/native';
import { followSubscribers } from '../addon/trace';
import {
  array,
  boolean,
  fields,
  instance,
  integer,
  invalidType,
  option,
  options,
  outOfRange,
  u64,
  u64Max,
} from '../errors/validate';
import type { Attached, IommufdDevice } from './bound';
import { ByIova } from './by-iova';
import { Hwpt, type HwptOptions } from './hwpt';
import { IoasMapping, type IoasEvents } from './mapping';
import {
  mapDmaBufOptions,
  toPlacement,
  toSource,
  type MapDmaBufOptions,
  type MapOptions,
  type Placement,
  type Source,
} from './placement';

// The time in milliseconds after which looking at many mappings lets the event loop run.
const slice = 2;
// The mappings between two looks at the clock.
const step = 64;
// The most ranges that allowIovas() accepts.
const mostRanges = 65536;

/** The IOVAs that an {@link Ioas} can use. */
export interface IovaRanges {
  /** The usable IOVAs in ascending order. `last` is inclusive. Each attached device can narrow them. */
  ranges: { start: bigint; last: bigint }[];
  /** IOVAs and lengths must be multiples of this many bytes. */
  alignment: bigint;
}

/** A mapping that another thread is making, and the ranges that were unmapped in the meantime. */
interface UnderWay {
  unmapped: { first: bigint; end: bigint }[];
}

/** An I/O address space (IOAS): the addresses (IOVAs) that attached devices use for DMA, and the memory they map to. */
export class Ioas extends EventEmitter<IoasEvents> {
  readonly iommufd: Parents['Iommufd'];
  /** The object ID in the iommufd. */
  readonly id: number;
  /** The devices that are attached directly to this IOAS. @internal */
  readonly attached = new Set<Attached>();
  /** The objects that are built on this one. @internal */
  readonly dependents = new Set<Child>();
  readonly #handle: IoasHandle;
  readonly #hot: NativeIoas;
  readonly #mappings = new Set<IoasMapping>();
  /** The mappings by IOVA, from the first use of a range on. Mappings without IOVAs are not in it. */
  #byIova: ByIova<IoasMapping> | undefined;
  /** The mappings that have lost their IOVAs: a remap() failed. */
  readonly #unplaced = new Set<IoasMapping>();
  /** The mappings that lookAtMappings() has not looked at. */
  #toLookAt: Iterator<IoasMapping> = [].values();
  #left = 0;
  #looking: NodeJS.Immediate | undefined;
  readonly #underWay = new Set<UnderWay>();
  readonly #watcher = new WeakRef<Watcher>(this);
  /** The number of mappings with `autoRemap`. */
  #autoRemaps = 0;
  readonly #life: Lifetime;

  static readonly #end: End<Ioas> = {
    ...{ what: 'IOAS', canFail: true, behindCalls: true },
    children: (ioas) => ioas.dependents,
    close: (ioas) => {
      for (const device of [...ioas.attached]) device.leave();
      kernelCall({ ioas: ioas.id }, () => native.ioasDestroy(ioas.#handle));
    },
    closeLater: async (ioas) => {
      for (const device of [...ioas.attached]) await device.leaveLater();
      await kernelCallAsync({ ioas: ioas.id }, () => native.ioasDestroyLater(ioas.#handle));
    },
    release: (ioas) => native.ioasRelease(ioas.#handle),
    left: (ioas) => {
      for (const mapping of ioas.eachMapping()) mapping.gone();
    },
    gone: (ioas) => {
      ioas.iommufd.kernel.watchers.delete(ioas.#watcher);
      ioas.iommufd.forget(ioas);
    },
  };

  static {
    shown(this, 'closed', 'id', 'mappings');
  }

  /** @internal */
  constructor(made: Key, iommufd: Parents['Iommufd'], handle: IoasHandle) {
    onlyInside(made, 'Ioas', 'use Iommufd#allocIoas()');
    super();
    this.iommufd = iommufd;
    this.#handle = handle;
    this.id = native.ioasId(handle);
    this.#hot = native.ioasHot(handle);
    iommufd.kernel.watchers.add(this.#watcher);
    this.#life = new Lifetime(this, Ioas.#end);
  }

  /**
   * Called when a device's memory decoding may have changed. Looks at all mappings. With many mappings, it lets the
   * event loop run between slices of a few milliseconds, and emits 'progress' after each. @internal
   */
  lookAtMappings(): void {
    if (this.#autoRemaps === 0 && this.listenerCount('revoked') === 0) return;
    this.#toLookAt = this.#mappings.values();
    this.#left = this.#mappings.size;
    if (this.#looking === undefined) this.#look();
  }

  #look(): void {
    const sliced = this.#looking !== undefined;
    this.#looking = undefined;
    const end = performance.now() + slice;
    while (this.#lookAtSome()) {
      if (performance.now() < end) continue;
      this.#looking = setImmediate(() => this.#look());
      break;
    }
    const left = this.#looking === undefined ? 0 : Math.max(1, this.#left);
    if (sliced || left > 0) this.#say('progress', left, this.#mappings.size);
  }

  /** Returns whether more mappings are left. */
  #lookAtSome(): boolean {
    const words = new Map<Exported, number>(); // not for longer: other threads change devices, too
    for (let i = 0; i < step; i += 1) {
      const next = this.#toLookAt.next();
      if (next.done === true) return false;
      const mapping = next.value;
      this.#left -= 1;
      if (!mapping.isRevoked(words)) continue;
      for (const [name, ...values] of mapping.look()) this.#say(name, ...values);
    }
    return true;
  }

  /**
   * Emits an event on the next tick, because listeners may close any object. After close(), only 'restoreFailed' is
   * emitted.
   */
  #say(name: keyof IoasEvents, ...values: unknown[]): void {
    process.nextTick(() => {
      // Not this.emit(): an own property of the object must not replace it.
      if (!this.closed || name === 'restoreFailed') EventEmitter.prototype.emit.call(this, name, ...values);
    });
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#life.closed;
  }

  /** The mappings that were made by this object and not unmapped, as a new array: see {@link eachMapping}. */
  get mappings(): IoasMapping[] {
    return [...this.#mappings];
  }

  /** The number of {@link mappings}. */
  get mappingCount(): number {
    return this.#mappings.size;
  }

  /**
   * Iterates over the {@link mappings} without copying them, in the order in which they were made. Mappings that are
   * closed during the iteration are left out, and those that are made during it are visited.
   */
  eachMapping(): IterableIterator<IoasMapping> {
    return this.#mappings.values();
  }

  /** @internal */
  get handle(): IoasHandle {
    this.#life.check();
    return this.#handle;
  }

  /**
   * Maps a dma-buf that VFIO exported, so that attached devices can access the exporter's BAR (IOMMU_IOAS_MAP_FILE).
   * The mapping holds its own reference to the buffer. Nothing is charged to RLIMIT_MEMLOCK. The kernel does not check
   * whether peer-to-peer DMA is possible.
   *
   * @throws KernelError EOPNOTSUPP: the buffer has several ranges, or VFIO did not export it. ENODEV: revoked. EEXIST:
   *   the IOVAs are in use. ENOSPC: no free IOVAs. EINVAL: misaligned, or IOVAs that are not usable. ENOTTY: a kernel
   *   before 6.13. RangeError: past the buffer's end. Error ERR_OTHER_KERNEL: the buffer belongs to another kernel than
   *   the iommufd.
   */
  mapDmaBuf(dmaBuf: DmaBuf, opts?: MapDmaBufOptions): IoasMapping {
    const { size, kernel } = instance(dmaBuf, 'dmaBuf', DmaBuf);
    if (kernel !== this.iommufd.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const { iova, offset, length, access } = toPlacement(opts, size, mapDmaBufOptions);
    const autoRemap = boolean(option(opts, 'autoRemap') ?? false, 'autoRemap');
    // Read before the call: a revocation during the call, on another thread, then marks this mapping as revoked.
    const revocations = dmaBuf.exported?.revocations ?? 0;
    const held = autoRemap ? dmaBuf.share() : dmaBuf;
    try {
      const at = this.place(held, offset, length, iova, access);
      return this.#remember(at, { offset, length, access, dmaBuf: held, revocations, autoRemap });
    } catch (error) {
      if (autoRemap) held.close();
      throw error;
    }
  }

  /** Maps a dma-buf and returns the IOVA. @internal */
  place(dmaBuf: DmaBuf, offset: bigint, length: bigint, iova: bigint | undefined, access: bigint): bigint {
    this.#life.check();
    followSubscribers();
    const { words, mapFd } = this.#hot;
    words[ioasWord.fd] = dmaBuf.fdWord;
    words[ioasWord.start] = offset;
    words[ioasWord.length] = length;
    words[ioasWord.iova] = iova ?? 0n;
    words[ioasWord.access] = access;
    words[ioasWord.fixed] = iova === undefined ? 0n : 1n;
    try {
      mapFd();
      return iova ?? words[ioasWord.iova] ?? 0n;
    } catch (error) {
      const exporter = attempt(() => dmaBuf.exporterName);
      const ranges = attempt(() => dmaBuf.exported?.ranges);
      throw explain(error, { iova, offset, length, exporter, ranges }, { ioas: this, dmaBuf });
    }
  }

  /** Unmaps a mapping. @internal */
  unplace(iova: bigint, length: bigint): void {
    this.#life.check();
    followSubscribers();
    const { words, unmap } = this.#hot;
    words[ioasWord.iova] = iova;
    words[ioasWord.length] = length;
    try {
      unmap();
    } catch (error) {
      throw explain(error, { iova, length }, { ioas: this });
    }
  }

  /** Unmaps a mapping on another thread. @internal */
  async unplaceLater(iova: bigint, length: bigint): Promise<void> {
    const { handle } = this;
    try {
      await this.calls.add(
        kernelCallAsync({ iova, length }, () => native.ioasUnmap(handle, iova, length, true), { ioas: this }),
      );
    } catch (error) {
      // unmap() of a range was faster.
      if (!(error instanceof KernelError && error.code === 'ENOENT')) throw error;
    }
  }

  #remember(iova: bigint, source: Source): IoasMapping {
    const mapping = new IoasMapping(key, this, iova, source);
    if (source.autoRemap) this.#autoRemaps += 1;
    this.#mappings.add(mapping);
    this.#byIova?.add(mapping);
    return mapping;
  }

  /** @internal */
  forget(mapping: IoasMapping): void {
    if (mapping.source.autoRemap) this.#autoRemaps -= 1;
    this.#byIova?.delete(mapping);
    this.#unplaced.delete(mapping);
    this.#mappings.delete(mapping);
  }

  /** Called when a mapping has lost its IOVAs (false), or has them again (true). @internal */
  placed(mapping: IoasMapping, has: boolean): void {
    if (has) {
      this.#unplaced.delete(mapping);
      this.#byIova?.add(mapping);
    } else {
      this.#unplaced.add(mapping);
      this.#byIova?.delete(mapping);
    }
  }

  /** The mappings that have IOVAs from `first` to before `end`, in ascending order. */
  #within(first: bigint, end: bigint): IoasMapping[] {
    this.#byIova ??= new ByIova([...this.#mappings].filter((mapping) => !this.#unplaced.has(mapping)));
    return this.#byIova.within(first, end);
  }

  /**
   * Maps host memory (IOMMU_IOAS_MAP_FILE). The kernel pins the pages, which takes time, and charges them to
   * RLIMIT_MEMLOCK. The mapping holds the pages even after the memory is closed.
   *
   * @throws KernelError ENOMEM: over RLIMIT_MEMLOCK. EEXIST, ENOSPC, EINVAL: as for {@link mapDmaBuf}. ENOTTY: a kernel
   *   before 6.13. Error ERR_CLOSED: the IOAS was closed, or the range unmapped, during the call. TypeError
   *   ERR_INVALID_ARG_TYPE: a region or a device. Export their memory as a dma-buf instead.
   */
  async mapMemory(memory: DmaMemory, opts?: MapOptions): Promise<IoasMapping> {
    const { args, call, placement } = this.#toMemory(memory, opts);
    return this.#mapLater(placement, args, () => native.ioasMapFile(...call, true));
  }

  /** Synchronous version of {@link mapMemory}. */
  mapMemorySync(memory: DmaMemory, opts?: MapOptions): IoasMapping {
    const { args, call, placement } = this.#toMemory(memory, opts);
    const iova = kernelCall(args, () => native.ioasMapFile(...call, false), { ioas: this });
    return this.#remember(iova, toSource(placement));
  }

  #toMemory(memory: DmaMemory, opts?: MapOptions) {
    const placement = toPlacement(opts, BigInt(hostMemory(memory).size));
    const { iova, offset, length, access } = placement;
    // Maps the file, not addresses of this process. The kernel pins pages only while a device is attached. When a
    // device is attached later, other memory may be at the same addresses.
    const call = [this.handle, memory.fdHandle, offset, length, iova, Number(access)] as const;
    return { args: { iova, offset, length }, call, placement };
  }

  /**
   * Maps a memfd (IOMMU_IOAS_MAP_FILE), from Linux 6.13 on. The pages are pinned as by {@link mapMemory}. The caller
   * still owns the fd and may close it afterwards.
   *
   * @param fd the memfd's number. `length` is required, in whole pages within the file
   * @throws KernelError EBADF: not an open fd. EINVAL: not a memfd, or past its end. Error ERR_IS_DMA_BUF: an fd of a
   *   dma-buf (see {@link mapDmaBuf}). ENOTTY: a kernel before 6.13. The rest as for {@link mapMemory}.
   */
  async mapFile(fd: number, opts: MapOptions & { length: number | bigint }): Promise<IoasMapping> {
    const { args, call, file, placement } = this.#toFile(fd, opts);
    try {
      return await this.#mapLater(placement, args, () => native.ioasMapFile(...call, true));
    } finally {
      native.fdClose(file, false);
    }
  }

  /** Synchronous version of {@link mapFile}. */
  mapFileSync(fd: number, opts: MapOptions & { length: number | bigint }): IoasMapping {
    const { args, call, file, placement } = this.#toFile(fd, opts);
    try {
      const iova = kernelCall(args, () => native.ioasMapFile(...call, false), { ioas: this });
      return this.#remember(iova, toSource(placement));
    } finally {
      native.fdClose(file, false);
    }
  }

  #toFile(fd: number, opts: MapOptions) {
    integer(fd, 'fd', 0, 0x7fff_ffff);
    const placement = toPlacement(opts, u64Max);
    u64(fields(opts, 'options').length, 'length', 1n);
    const { iova, offset, length, access } = placement;
    const ioas = this.handle;
    // Duplicates the fd. The caller may close the number during the call, and the number may be reused for another
    // file.
    const file: FdHandle = duplicate(this.iommufd.kernel, fd);
    try {
      if (kernelCall({ fd }, () => native.dmaBufIs(file))) {
        throw codedError('ERR_IS_DMA_BUF', `fd ${String(fd)} is a dma-buf: mapDmaBuf(DmaBuf.fromFd(fd)) maps it`);
      }
    } catch (error) {
      native.fdClose(file, false);
      throw error;
    }
    const call = [ioas, file, offset, length, iova, Number(access)] as const;
    return { args: { fd, iova, offset, length }, call, file, placement };
  }

  /**
   * Maps the memory of a mapping, or a part of it, in this IOAS too (IOMMU_IOAS_COPY). Pages that are pinned are not
   * pinned again. The copy is an independent mapping: closing or remapping one does not affect the other. It has
   * `autoRemap` if the original mapping has it.
   *
   * @param opts `offset` and `length` are relative to the start of the mapping
   * @throws Error ERR_CLOSED, ERR_OTHER_IOMMUFD: a mapping in an IOAS of another iommufd. KernelError ENOENT: the
   *   mapping was unmapped in the meantime. EEXIST, ENOSPC, EINVAL, EPERM: as for {@link mapDmaBuf}. RangeError: past
   *   the mapping's end.
   */
  async copy(mapping: IoasMapping, opts?: MapOptions): Promise<IoasMapping> {
    const { args, call, placement, source } = this.#toCopy(mapping, opts);
    try {
      return await this.#mapLater(placement, args, () => native.ioasCopy(...call, true), source);
    } catch (error) {
      if (source.autoRemap) source.dmaBuf?.close();
      // The original mapping was closed during the call.
      if (error instanceof KernelError && error.code === 'ENOENT' && mapping.state === 'closed')
        throw closedError('mapping');
      throw error;
    }
  }

  /** Synchronous version of {@link copy}. */
  copySync(mapping: IoasMapping, opts?: MapOptions): IoasMapping {
    const { args, call, source } = this.#toCopy(mapping, opts);
    try {
      const iova = kernelCall(args, () => native.ioasCopy(...call, false), { ioas: this });
      return this.#remember(iova, source);
    } catch (error) {
      if (source.autoRemap) source.dmaBuf?.close();
      throw error;
    }
  }

  #toCopy(mapping: IoasMapping, opts?: MapOptions) {
    const { ioas, state, source: original } = instance(mapping, 'mapping', IoasMapping);
    if (state === 'closed') throw closedError('mapping');
    if (ioas.iommufd !== this.iommufd) {
      throw codedError('ERR_OTHER_IOMMUFD', 'the mapping is in an IOAS of another iommufd');
    }
    const placement = toPlacement(opts, mapping.length);
    const { iova, offset, length, access } = placement;
    const from = mapping.iova + offset;
    const call = [this.handle, ioas.handle, from, length, iova, Number(access)] as const;
    const dmaBuf = original.autoRemap ? original.dmaBuf?.share() : original.dmaBuf;
    const source = { ...original, dmaBuf, offset: original.offset + offset, length, access };
    return { args: { iova, from, length }, call, placement, source };
  }

  /** Maps on another thread. Rejects if the range was unmapped in the meantime. */
  async #mapLater(
    placement: Placement,
    args: KernelErrorArguments,
    call: () => Promise<bigint>,
    source: Source = toSource(placement),
  ): Promise<IoasMapping> {
    const underWay: UnderWay = { unmapped: [] };
    this.#underWay.add(underWay);
    try {
      const iova = await this.calls.add(kernelCallAsync(args, call, { ioas: this }));
      const end = iova + placement.length;
      this.#life.check();
      if (underWay.unmapped.some((range) => range.first < end && range.end > iova)) {
        // The kernel may have made the mapping before or after the unmap. If another mapping overlaps the range now,
        // the unmap removed this one. Otherwise, unmap it now; ENOENT is ignored.
        if (this.#within(iova, end).length === 0) {
          await this.unplaceLater(iova, placement.length);
        }
        throw closedError('mapping');
      }
      return this.#remember(iova, source);
    } finally {
      this.#underWay.delete(underWay);
    }
  }

  /**
   * Unmaps all mappings that lie entirely within the range (IOMMU_IOAS_UNMAP). Returns the number of bytes unmapped.
   * Without arguments, unmaps everything.
   *
   * @throws KernelError ENOENT: nothing is mapped there, or the range cuts a mapping. Mappings before the cut are
   *   unmapped. EBUSY: another call is making a mapping there. All other mappings are unmapped.
   */
  unmap(iova?: number | bigint, length?: number | bigint): bigint {
    const handle = this.handle;
    const all = iova === undefined && length === undefined;
    const first = all ? 0n : u64(iova, 'iova');
    const count = all ? u64Max : u64(length, 'length', 1n);
    try {
      const unmapped = kernelCall({ iova: first, length: count }, () => native.ioasUnmap(handle, first, count, false), {
        ioas: this,
      });
      this.#dropWithin(first, first + count);
      return unmapped;
    } catch (error) {
      if (error instanceof KernelError && error.code === 'ENOENT') this.#dropWithin(first, first + count);
      if (error instanceof KernelError && error.code === 'EBUSY') this.#finishUnmapping(first, first + count);
      throw error;
    }
  }

  /**
   * The kernel stopped at a mapping that is being made. It does not report which mappings it had unmapped before, so
   * all mappings in the range are closed.
   */
  #finishUnmapping(first: bigint, end: bigint): void {
    for (const mapping of [...this.#within(first, end), ...this.#unplaced]) {
      if (mapping.iova < first || mapping.iova + mapping.length > end) continue;
      try {
        mapping.close();
      } catch (error) {
        if (error instanceof KernelError && error.code === 'ENOENT') mapping.gone();
      }
    }
  }

  /** The kernel unmaps in ascending order, up to the first mapping that the range cuts. */
  #dropWithin(first: bigint, end: bigint): void {
    for (const { unmapped } of this.#underWay) unmapped.push({ first, end });
    for (const mapping of [...this.#unplaced]) {
      if (mapping.iova >= first && mapping.iova + mapping.length <= end) mapping.gone();
    }
    for (const mapping of this.#within(first, end)) {
      if (mapping.iova < first || mapping.iova + mapping.length > end) return;
      mapping.gone();
    }
  }

  /**
   * Allocates a hardware page table that always contains all mappings of this IOAS, for devices to be attached to
   * (IOMMU_HWPT_ALLOC). The first page table pins host memory, as does attaching a device to the IOAS itself.
   *
   * @param device a device behind the IOMMU that the page table is for
   * @throws KernelError EOPNOTSUPP: the IOMMU does not support the options or the type of data. EINVAL: the data are
   *   too short or too long. EADDRINUSE: a mapping is at IOVAs that this IOMMU cannot use. ENOMEM: over RLIMIT_MEMLOCK.
   *   Error ERR_NOT_BOUND, ERR_OTHER_IOMMUFD.
   */
  allocHwpt(device: IommufdDevice, opts?: HwptOptions): Promise<Hwpt> {
    return Hwpt.alloc(this, device, opts);
  }

  /** Synchronous version of {@link allocHwpt}. */
  allocHwptSync(device: IommufdDevice, opts?: HwptOptions): Hwpt {
    return Hwpt.allocSync(this, device, opts);
  }

  /**
   * Returns the usable IOVAs and their alignment (IOMMU_IOAS_IOVA_RANGES). They can change with each attach and detach.
   */
  iovaRanges(): IovaRanges {
    return data(kernelCall({}, () => native.ioasIovaRanges(this.handle)));
  }

  /**
   * Restricts the IOVAs that the kernel may choose to these ranges (IOMMU_IOAS_ALLOW_IOVAS). Replaces earlier ranges.
   * An empty list allows all {@link iovaRanges}. The ranges stay usable: a device that would make a part of them
   * unusable cannot be attached any more. Mappings with an explicit `iova` may lie elsewhere.
   *
   * @throws KernelError EADDRINUSE: some of the IOVAs are not usable. EINVAL: two ranges overlap, or a range has less
   *   than two bytes.
   */
  allowIovas(ranges: readonly { start: number | bigint; last: number | bigint }[]): void {
    const { handle } = this;
    const given = array(ranges, 'ranges');
    if (given.length > mostRanges) throw outOfRange('ranges.length', `<= ${String(mostRanges)}`, given.length);
    const words = BigUint64Array.from(
      given.flatMap((range, i) => {
        const name = `ranges[${String(i)}]`;
        const { start, last } = options(range, ['start', 'last'], name);
        return [u64(start, `${name}.start`), u64(last, `${name}.last`)];
      }),
    );
    kernelCall({}, () => native.ioasAllowIovas(handle, words));
  }

  /**
   * Whether mappings may use the IOMMU's large pages (IOMMU_OPTION). Default: true. If false, every page has its own
   * entry, and dirty pages are tracked individually. Can be set to false while nothing is mapped or no device is
   * attached.
   *
   * @throws KernelError EINVAL: mappings are in use. EADDRINUSE: a mapping is not in whole pages.
   */
  get hugePages(): boolean {
    return kernelCall({}, () => native.ioasHugePages(this.handle));
  }

  set hugePages(enable: boolean) {
    const { handle } = this;
    boolean(enable, 'hugePages');
    kernelCall({}, () => native.ioasSetHugePages(handle, enable));
  }

  /**
   * Returns the bus address of the memory at an IOVA, and how many of the `length` bytes are contiguous there
   * (IOMMU_IOAS_NOIOMMU_GET_PA). This is for devices without an IOMMU (VFIO's noiommu mode), which use bus addresses
   * for DMA. It is not available for devices with an IOMMU.
   *
   * @throws KernelError EOPNOTSUPP: the device has an IOMMU, or the kernel has no noiommu mode (CONFIG_VFIO_NOIOMMU).
   *   EPERM: CAP_SYS_RAWIO is required. ENOENT: nothing is mapped there. ENOTTY: the kernel does not support the call.
   */
  noiommuPhysical(iova: number | bigint, length: number | bigint): { address: bigint; length: bigint } {
    const { handle } = this;
    const [first, count] = [u64(iova, 'iova', 0n, u64Max - 1n), u64(length, 'length', 1n)];
    return kernelCall({ iova: first, length: count }, () => native.ioasPhysical(handle, first, count));
  }

  /**
   * Unmaps everything, closes the page tables of this IOAS, detaches the devices that are attached to it, and destroys
   * it. If calls are running on other threads, this happens after the last of them. Running map calls fail with
   * ERR_CLOSED. {@link destroy} is an alias.
   */
  close(): void {
    this.#life.close();
  }

  /**
   * Called when its iommufd is being closed and the IOAS could not be destroyed. The kernel destroys it with the
   * iommufd. @internal
   */
  abandon(): void {
    this.#life.abandon();
  }

  /** @internal */
  get calls(): Calls {
    return this.#life.calls;
  }

  /** @internal */
  get areUnderWay(): boolean {
    return this.#life.areUnderWay;
  }

  /** Alias of {@link close}, after IOMMU_DESTROY. */
  destroy(): void {
    this.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on another thread, for `await using`: unpinning much host memory takes time. Waits for running calls. From
   * the start, every method throws ERR_CLOSED, and the mappings are 'closed'. If it fails, the kernel destroys the IOAS
   * with its iommufd.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#life.closeLater();
  }
}

/** Detects BARs passed as memory, as in VFIO's older interface. The kernel would only return EFAULT, "Bad address". */
function hostMemory(memory: DmaMemory): DmaMemory {
  if (memory instanceof DmaMemory) return memory;
  const given: unknown = memory;
  // A device or a mapped region has the property 'region'. A region has 'mappableRanges'.
  if (typeof given === 'object' && given !== null && ('region' in given || 'mappableRanges' in given)) {
    const expected =
      "an instance of DmaMemory, as a device's BAR cannot be pinned: give mapDmaBuf() what device.exportDmaBuf() returns";
    throw invalidType('memory', expected, memory);
  }
  return instance(memory, 'memory', DmaMemory);
}
