// An I/O address space: what it maps, and how mappings are made, copied and unmapped.
import type { Parents } from '../lifetime/parents';
import { EventEmitter } from 'node:events';
import type { Calls } from '../lifetime/calls';
import type { Watcher } from '../kernel/kernel';
import { attempt } from '../kernel/look';
import { DmaBuf } from '../dmabuf/dma-buf';
import { DmaMemory } from '../dmabuf/dma-memory';
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
import { Hwpt, type HwptOptions } from './hwpt';
import { IoasMapping, type IoasEvents } from './mapping';
import {
  toPlacement,
  toSource,
  type MapDmaBufOptions,
  type MapOptions,
  type Placement,
  type Source,
} from './placement';

// Of allowIovas.
const mostRanges = 65536;

/** What an {@link Ioas} can map where. */
export interface IovaRanges {
  /** The usable IOVAs, `last` included, ascending. They narrow with every device that is attached. */
  ranges: { start: bigint; last: bigint }[];
  /** IOVAs and lengths must be multiples of this many bytes. */
  alignment: bigint;
}

/** A mapping that a pool thread is making. What was unmapped meanwhile may have been it. */
interface UnderWay {
  unmapped: { first: bigint; end: bigint }[];
}

/** An I/O address space: the addresses (IOVAs) that attached devices use for DMA, and what each leads to. */
export class Ioas extends EventEmitter<IoasEvents> {
  readonly iommufd: Parents['Iommufd'];
  /** The object's number in its iommufd. */
  readonly id: number;
  /** Devices attached here. @internal */
  readonly attached = new Set<Attached>();
  /** What is built on it. @internal */
  readonly dependents = new Set<Child>();
  readonly #handle: IoasHandle;
  readonly #hot: NativeIoas;
  readonly #mappings: IoasMapping[] = [];
  readonly #underWay = new Set<UnderWay>();
  readonly #watcher = new WeakRef<Watcher>(this);
  /** How many mappings are restored by themselves. */
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
      for (const mapping of ioas.mappings) mapping.gone();
    },
    gone: (ioas) => {
      ioas.iommufd.kernel.watchers.delete(ioas.#watcher);
      ioas.iommufd.forget(ioas);
    },
  };

  /** @internal */
  constructor(iommufd: Parents['Iommufd'], handle: IoasHandle) {
    super();
    this.iommufd = iommufd;
    this.#handle = handle;
    this.id = native.ioasId(handle);
    this.#hot = native.ioasHot(handle);
    iommufd.kernel.watchers.add(this.#watcher);
    this.#life = new Lifetime(this, Ioas.#end);
  }

  /** Called when a device has changed what it decodes. @internal */
  lookAtMappings(): void {
    if (this.#autoRemaps === 0 && this.listenerCount('revoked') === 0) return;
    for (const mapping of this.mappings) {
      for (const [name, ...values] of mapping.look()) this.#say(name, ...values);
    }
  }

  /**
   * Tells the listeners, when what is going on is over: they may close anything. Of an IOAS that is closed by then they hear
   * of errors only.
   */
  #say(name: keyof IoasEvents, ...values: unknown[]): void {
    process.nextTick(() => {
      // Not this.emit: an object's own property must not get in the way.
      if (!this.closed || name === 'restoreFailed') EventEmitter.prototype.emit.call(this, name, ...values);
    });
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#life.closed;
  }

  /** The mappings that were made here and not unmapped. */
  get mappings(): IoasMapping[] {
    return [...this.#mappings];
  }

  /** @internal */
  get handle(): IoasHandle {
    this.#life.check();
    return this.#handle;
  }

  /**
   * Maps a dma-buf that VFIO exported, so that attached devices reach the exporter's BAR (IOMMU_IOAS_MAP_FILE). The
   * mapping holds the buffer itself. Nothing is charged to RLIMIT_MEMLOCK, and no peer-to-peer check is made.
   *
   * @throws KernelError EOPNOTSUPP: the buffer has several ranges, or is not VFIO's. ENODEV: revoked. EEXIST: the IOVAs
   *   are taken. ENOSPC: no room. EINVAL: misaligned, or IOVAs that are not usable. ENOTTY: a kernel before 6.13.
   *   RangeError: past the buffer's end. Error ERR_OTHER_KERNEL: a buffer of another kernel than the iommufd's.
   */
  mapDmaBuf(dmaBuf: DmaBuf, opts?: MapDmaBufOptions): IoasMapping {
    const { size, kernel } = instance(dmaBuf, 'dmaBuf', DmaBuf);
    if (kernel !== this.iommufd.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const { iova, offset, length, access } = toPlacement(opts, size);
    const autoRemap = boolean(option(opts, 'autoRemap') ?? false, 'autoRemap');
    // Of before the call: what revokes meanwhile, in another thread, kills this mapping or fails it.
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

  /** Puts a dma-buf into the table; returns the IOVA. @internal */
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

  /** Takes a mapping out of the table. @internal */
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

  /** Takes a mapping out of the table, on a pool thread. @internal */
  async unplaceLater(iova: bigint, length: bigint): Promise<void> {
    const { handle } = this;
    try {
      await this.calls.add(
        kernelCallAsync({ iova, length }, () => native.ioasUnmap(handle, iova, length, true), { ioas: this }),
      );
    } catch (error) {
      // unmap() of a range came first.
      if (!(error instanceof KernelError && error.code === 'ENOENT')) throw error;
    }
  }

  #remember(iova: bigint, source: Source): IoasMapping {
    const mapping = new IoasMapping(this, iova, source);
    if (source.autoRemap) this.#autoRemaps += 1;
    mapping.index = this.#mappings.push(mapping) - 1;
    return mapping;
  }

  /** The last one takes the place of the one that goes: as fast for the first of a million as for one. @internal */
  forget(mapping: IoasMapping): void {
    if (mapping.source.autoRemap) this.#autoRemaps -= 1;
    const last = this.#mappings.pop();
    if (last === undefined || last === mapping) return;
    this.#mappings[mapping.index] = last;
    last.index = mapping.index;
  }

  /**
   * Maps host memory (IOMMU_IOAS_MAP_FILE). The pages are pinned, which takes time and is charged to RLIMIT_MEMLOCK.
   * The mapping holds the pages even after the memory is closed.
   *
   * @throws KernelError ENOMEM: over RLIMIT_MEMLOCK. EEXIST, ENOSPC, EINVAL: as for {@link mapDmaBuf}. ENOTTY: a kernel
   *   before 6.13. Error ERR_CLOSED: the IOAS was closed, or the range unmapped, while the call was under way. TypeError
   *   ERR_INVALID_ARG_TYPE: a region or a device, whose memory must be exported as a dma-buf.
   */
  async mapMemory(memory: DmaMemory, opts?: MapOptions): Promise<IoasMapping> {
    const { args, call, placement } = this.#toMemory(memory, opts);
    return this.#mapLater(placement, args, () => native.ioasMapFile(...call, true));
  }

  /** {@link mapMemory}, waiting. */
  mapMemorySync(memory: DmaMemory, opts?: MapOptions): IoasMapping {
    const { args, call, placement } = this.#toMemory(memory, opts);
    const iova = kernelCall(args, () => native.ioasMapFile(...call, false), { ioas: this });
    return this.#remember(iova, toSource(placement));
  }

  #toMemory(memory: DmaMemory, opts?: MapOptions) {
    const placement = toPlacement(opts, BigInt(hostMemory(memory).size));
    const { iova, offset, length, access } = placement;
    // By the file, not by its addresses in this process: the kernel pins nothing while no device is attached, and when
    // one is, what is at an address may be other memory by then.
    const call = [this.handle, memory.fdHandle, offset, length, iova, Number(access)] as const;
    return { args: { iova, offset, length }, call, placement };
  }

  /**
   * Maps a memfd (IOMMU_IOAS_MAP_FILE), from Linux 6.13 on. The pages are pinned, as by {@link mapMemory}. The fd stays
   * the caller's and may be closed afterwards.
   *
   * @param fd the memfd's number; `length` must be given, in whole pages inside the file
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

  /** {@link mapFile}, waiting. */
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
    u64(options(opts).length, 'length', 1n);
    const placement = toPlacement(opts, u64Max);
    const { iova, offset, length, access } = placement;
    const ioas = this.handle;
    // A duplicate of our own: the caller may close the number, and it may become another file, while the call runs.
    const file: FdHandle = kernelCall({ fd }, () => native.fdDuplicate(this.iommufd.kernel.handle, fd));
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
   * Maps what a mapping shows, or a part of it, in this IOAS too (IOMMU_IOAS_COPY): pages that are pinned are not pinned
   * again. The copy is a mapping of its own: it is closed and mapped again apart from the first, by itself
   * (`autoRemap`) if that is.
   *
   * @param opts `offset` and `length` count from the start of the mapping
   * @throws Error ERR_CLOSED, ERR_OTHER_IOMMUFD: a mapping in an IOAS of another iommufd. KernelError ENOENT: unmapped
   *   meanwhile. EEXIST, ENOSPC, EINVAL, EPERM: as for {@link mapDmaBuf}. RangeError: past the mapping's end.
   */
  async copy(mapping: IoasMapping, opts?: MapOptions): Promise<IoasMapping> {
    const { args, call, placement, source } = this.#toCopy(mapping, opts);
    try {
      return await this.#mapLater(placement, args, () => native.ioasCopy(...call, true), source);
    } catch (error) {
      if (source.autoRemap) source.dmaBuf?.close();
      // Gone while the call was under way.
      if (error instanceof KernelError && error.code === 'ENOENT' && mapping.state === 'closed')
        throw closedError('mapping');
      throw error;
    }
  }

  /** {@link copy}, waiting. */
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

  /** Maps on a pool thread, and makes sure that the mapping is there at the end. */
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
        // Before or after the kernel made it. If something is there that is not it, it was before.
        if (!this.#mappings.some((other) => other.iova < end && other.iova + other.length > iova)) {
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
   * Unmaps all mappings that lie wholly in the range (IOMMU_IOAS_UNMAP); returns the bytes unmapped. Without arguments,
   * everything.
   *
   * @throws KernelError ENOENT: nothing there, or the range cuts a mapping. What lay before the cut is unmapped then. EBUSY: a
   *   mapping there is just being made by a call under way. The others are unmapped.
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

  /** The kernel stopped at a mapping that is being made. Which it had unmapped before, it does not say. */
  #finishUnmapping(first: bigint, end: bigint): void {
    for (const mapping of this.mappings) {
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
    const touched = this.#mappings
      .filter((mapping) => mapping.iova < end && mapping.iova + mapping.length > first)
      .sort((a, b) => (a.iova < b.iova ? -1 : 1));
    for (const mapping of touched) {
      if (mapping.iova < first || mapping.iova + mapping.length > end) return;
      mapping.gone();
    }
  }

  /**
   * Makes a hardware page table of all that is mapped here, now and later, for devices to be attached to
   * (IOMMU_HWPT_ALLOC). With the first, host memory is pinned, as when a device is attached to the IOAS itself.
   *
   * @param device one behind an IOMMU that the table is for
   * @throws KernelError EOPNOTSUPP: the IOMMU cannot do what is asked, or knows no data of this type. EINVAL: the data are
   *   too short or too long. EADDRINUSE: a mapping lies where this IOMMU can have none. ENOMEM: over RLIMIT_MEMLOCK.
   *   Error ERR_NOT_BOUND, ERR_OTHER_IOMMUFD.
   */
  allocHwpt(device: IommufdDevice, opts?: HwptOptions): Promise<Hwpt> {
    return Hwpt.alloc(this, device, opts);
  }

  /** {@link allocHwpt}, waiting. */
  allocHwptSync(device: IommufdDevice, opts?: HwptOptions): Hwpt {
    return Hwpt.allocSync(this, device, opts);
  }

  /** Which IOVAs can be used, and their alignment (IOMMU_IOAS_IOVA_RANGES). Ask again after each attach and detach. */
  iovaRanges(): IovaRanges {
    return kernelCall({}, () => native.ioasIovaRanges(this.handle));
  }

  /**
   * Says where the kernel may choose IOVAs (IOMMU_IOAS_ALLOW_IOVAS), in place of what was said before; an empty list: in all
   * {@link iovaRanges}. They stay usable: a device that would take some of them away can no longer be attached. Mappings at
   * an `iova` of the caller's may lie elsewhere.
   *
   * @throws KernelError EADDRINUSE: some are not usable. EINVAL: two ranges overlap, or one has less than two bytes.
   */
  allowIovas(ranges: readonly { start: number | bigint; last: number | bigint }[]): void {
    const { handle } = this;
    const given = array(ranges, 'ranges');
    if (given.length > mostRanges) throw outOfRange('ranges.length', `<= ${String(mostRanges)}`, given.length);
    const words = BigUint64Array.from(
      given.flatMap((range, i) => {
        const name = `ranges[${String(i)}]`;
        const { start, last } = options(range, name);
        return [u64(start, `${name}.start`), u64(last, `${name}.last`)];
      }),
    );
    kernelCall({}, () => native.ioasAllowIovas(handle, words));
  }

  /**
   * Whether mappings may use the IOMMU's large pages (IOMMU_OPTION); true to begin with. Without them every page has an entry
   * of its own: dirty pages are told one by one. Can be switched off while nothing is mapped or no device is attached.
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
   * Where the memory behind an IOVA is on the bus, and how many of `length` bytes lie there in one piece
   * (IOMMU_IOAS_NOIOMMU_GET_PA): for devices without an IOMMU (vfio's noiommu mode), which want bus addresses. With an IOMMU
   * nobody can ask that.
   *
   * @throws KernelError EOPNOTSUPP: the device has an IOMMU, or the kernel no noiommu mode (CONFIG_VFIO_NOIOMMU). EPERM:
   *   wants CAP_SYS_RAWIO. ENOENT: nothing is mapped there. ENOTTY: a kernel that does not know the call.
   */
  noiommuPhysical(iova: number | bigint, length: number | bigint): { address: bigint; length: bigint } {
    const { handle } = this;
    const [first, count] = [u64(iova, 'iova', 0n, u64Max - 1n), u64(length, 'length', 1n)];
    return kernelCall({ iova: first, length: count }, () => native.ioasPhysical(handle, first, count));
  }

  /**
   * Unmaps everything, closes the page tables made of it, detaches the devices attached here, and destroys the IOAS. Also called destroy(). If calls are under
   * way on pool threads, that happens behind them; those that map end with ERR_CLOSED.
   */
  close(): void {
    this.#life.close();
  }

  /** Its iommufd is being closed, and it could not be destroyed: the kernel does that with the iommufd. @internal */
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

  /** {@link close}, by the kernel's name for it. */
  destroy(): void {
    this.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on a pool thread, for `await using`: unpinning much host memory takes time. Waits for calls that are under way.
   * From the start on every method throws ERR_CLOSED, and the mappings are 'closed'. If it fails, the kernel destroys the
   * IOAS with its iommufd.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#life.closeLater();
  }
}

/** What users of older interfaces try: the kernel would say EFAULT, "Bad address". */
function hostMemory(memory: DmaMemory): DmaMemory {
  if (memory instanceof DmaMemory) return memory;
  const given: unknown = memory;
  // A device or a mapped region has a 'region'; a region has 'mappableRanges'.
  if (typeof given === 'object' && given !== null && ('region' in given || 'mappableRanges' in given)) {
    const expected =
      "an instance of DmaMemory, as a device's BAR cannot be pinned: give mapDmaBuf() what device.exportDmaBuf() returns";
    throw invalidType('memory', expected, memory);
  }
  return instance(memory, 'memory', DmaMemory);
}
