import { Calls } from '../calls';
import { attempt, type Around } from '../causes/look';
import { DmaBuf } from '../dmabuf/dma-buf';
import { tellWatchers } from '../dmabuf/exported';
import { closedError, codedError, explain, kernelCall, kernelCallAsync, KernelError } from '../errors';
import { Iommufd } from '../iommufd/iommufd';
import { Ioas } from '../iommufd/ioas';
import type { Kernel } from '../kernel';
import { expectClose, wasClosed } from '../lost';
import { native, type FdHandle, type IoasHandle, type VfioHandle, type WordOf } from '../native';
import { followSubscribers } from '../trace';
import { array, instance, integer, oneOf, options, u64 } from '../validate';
import { parseChain, type UnknownCapability } from './capabilities';
import { CommandRegister } from './command-register';
import { configRegion, deviceFlags, featureOperations, irqFlags, vfioFeatures, type VfioFeature } from './constants';
import { toHotResetInfo, type HotResetInfo } from './hot-reset';
import type { MappedRegion } from './mapped-region';
import { toTarget, type OpenOptions } from './open';
import { Region } from './region';

const mostRanges = 65536;

/** A part of a region, in bytes: multiples of the page size. */
export interface DmaRange {
  offset: number | bigint;
  length: number | bigint;
}

/** What to export: one range of a region, or several that make one buffer, in this order. */
export type ExportOptions = { region: number } & (DmaRange | { ranges: readonly DmaRange[] });

/** What a device is. */
export interface DeviceInfo {
  /** A PCI device of vfio-pci. */
  pci: boolean;
  /** Whether it can be reset on its own. */
  resettable: boolean;
  /** How many regions and interrupt indices there can be. */
  regions: number;
  irqs: number;
  /** All flag bits, as the kernel gave them. */
  flags: number;
  capabilities: UnknownCapability[];
}

/** What an interrupt index offers. */
export interface IrqInfo {
  /** How many interrupts: 0, the device has no such kind. */
  count: number;
  eventfd: boolean;
  maskable: boolean;
  automasked: boolean;
  noresize: boolean;
}

/** A PCI device that VFIO holds for this process. */
export class VfioDevice {
  readonly kernel: Kernel;
  /** The PCI address, if sysfs tells it. */
  readonly address: string | undefined;
  /** The PCI command register. */
  readonly command: CommandRegister = new CommandRegister(() => this.config);
  readonly #fd: FdHandle;
  readonly #handle: VfioHandle;
  readonly #mapped = new Set<MappedRegion>();
  readonly #word: WordOf;
  readonly #calls = new Calls();
  /** The device's word as it was when the watchers were told last. */
  #told: number;
  #iommufd: Iommufd | undefined;
  #id: number | undefined;
  #ioas: Ioas | undefined;
  #config: Region | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  #leaving: Promise<void> | undefined;
  /** Native code has let go of it: calls that are under way are the last. */
  #released = false;

  private constructor(kernel: Kernel, fd: FdHandle, address: string | undefined) {
    this.kernel = kernel;
    this.address = address;
    this.#fd = fd;
    try {
      this.#handle = kernelCall({}, () => native.vfioDevice(fd, address ?? ''));
    } catch (error) {
      native.fdClose(fd, false);
      throw error;
    }
    this.#word = native.vfioWord(this.#handle);
    this.#told = this.#word();
    expectClose(this, 'VFIO device');
  }

  /**
   * Opens a device and, if an iommufd is given, binds it. When that fails, nothing stays open.
   *
   * @param target a PCI address ('0000:03:00.0' or '03:00.0'), a path of a character device
   *   ('/dev/vfio/devices/vfio0'), or the number of an fd that was handed over (it is duplicated; the caller's own stays
   *   open and the caller's)
   * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO. KernelError EACCES, EBUSY, EINVAL (already bound), EPERM.
   */
  static async open(target: string | number, opts?: OpenOptions): Promise<VfioDevice> {
    const { kernel, iommufd, open, addressOf } = toTarget(target, opts);
    const fd = await open();
    const device = new VfioDevice(kernel, fd, addressOf(fd));
    try {
      if (iommufd) await device.bind(iommufd);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** {@link open}, waiting. */
  static openSync(target: string | number, opts?: OpenOptions): VfioDevice {
    const { kernel, iommufd, openSync, addressOf } = toTarget(target, opts);
    const fd = openSync();
    const device = new VfioDevice(kernel, fd, addressOf(fd));
    try {
      if (iommufd) device.bindSync(iommufd);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    if (this.#closed) throw closedError('VFIO device');
    return native.fdNumber(this.#fd);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @internal */
  get handle(): VfioHandle {
    if (this.#closed) throw closedError('VFIO device');
    return this.#handle;
  }

  /** The iommufd that this object bound the device to. */
  get iommufd(): Iommufd | undefined {
    return this.#iommufd;
  }

  /** The device's number in its iommufd, once bound. */
  get id(): number | undefined {
    return this.#id;
  }

  /** What the device is attached to. */
  get ioas(): Ioas | undefined {
    return this.#ioas;
  }

  /**
   * Binds the device to an iommufd. From then on it can be used, and it is closed before the iommufd.
   *
   * @throws KernelError EINVAL: bound already. EPERM: another device of the IOMMU group has a driver of the kernel or
   *   another iommufd, or interrupts are not isolated. EBUSY: the group is open through /dev/vfio/GROUP. EACCES: a VF token
   *   is wanted. EBADFD: not an iommufd.
   */
  async bind(iommufd: Iommufd): Promise<void> {
    const [device, parent] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle];
    this.#bound(
      iommufd,
      await this.#calls.add(kernelCallAsync(this.#args(), () => native.vfioBind(device, parent, true), this.#around())),
    );
  }

  /** {@link bind}, waiting. */
  bindSync(iommufd: Iommufd): void {
    const [device, parent] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle];
    this.#bound(
      iommufd,
      kernelCall(this.#args(), () => native.vfioBind(device, parent, false), this.#around()),
    );
  }

  #bound(iommufd: Iommufd, id: number): void {
    if (this.#closed || iommufd.closed) {
      this.close();
      throw closedError(iommufd.closed ? 'iommufd' : 'VFIO device');
    }
    this.#iommufd = iommufd;
    this.#id = id;
    iommufd.adopt(this);
  }

  #args(): { device: string | undefined } {
    return { device: this.address };
  }

  /** Where an error's cause is looked for. */
  #around(): Around {
    return { kernel: this.kernel, isBound: () => attempt(() => this.info()) !== undefined };
  }

  /**
   * Attaches the device to an IOAS: its DMA goes through that from now on. If it was attached elsewhere, it moves.
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd. KernelError EINVAL: not bound. EADDRINUSE: mappings where this device
   *   cannot have any. ENOMEM: the first device has the mapped host memory pinned, which went over RLIMIT_MEMLOCK.
   */
  async attach(ioas: Ioas): Promise<void> {
    const [device, table] = [this.handle, this.#pageTable(ioas)];
    const args = { ...this.#args(), ioas: ioas.id };
    const around = { ...this.#around(), ioas };
    const call = async () => {
      await kernelCallAsync(args, () => native.vfioAttach(device, table, true), around);
      this.#attached(ioas);
    };
    // Both wait for it when they are closed, and detach.
    await this.#calls.add(ioas.calls.add(call()));
    if (this.#closed || ioas.closed) throw closedError(ioas.closed ? 'IOAS' : 'VFIO device');
  }

  /** {@link attach}, waiting. */
  attachSync(ioas: Ioas): void {
    const [device, table] = [this.handle, this.#pageTable(ioas)];
    const around = { ...this.#around(), ioas };
    kernelCall({ ...this.#args(), ioas: ioas.id }, () => native.vfioAttach(device, table, false), around);
    this.#attached(ioas);
  }

  #pageTable(ioas: Ioas): IoasHandle {
    const { handle } = instance(ioas, 'ioas', Ioas);
    // Numbers are per iommufd: in another one, the same number is another IOAS.
    const [mine, its] = [this.#iommufd, ioas.iommufd];
    if (mine && mine !== its && !mine.duplicated && !its.duplicated) {
      throw codedError('ERR_OTHER_IOMMUFD', 'the IOAS belongs to another iommufd than the one the device is bound to');
    }
    return handle;
  }

  #attached(ioas: Ioas | undefined): void {
    this.#ioas?.attached.delete(this);
    this.#ioas = this.#released ? undefined : ioas;
    this.#ioas?.attached.add(this);
  }

  /** Detaches the device from its IOAS: its DMA is blocked from now on. No error if it is not attached. */
  async detach(): Promise<void> {
    const device = this.handle;
    const call = async () => {
      await kernelCallAsync(this.#args(), () => native.vfioDetach(device, true));
      this.#attached(undefined);
    };
    await this.#calls.add(call());
  }

  /** {@link detach}, waiting. */
  detachSync(): void {
    const device = this.handle;
    kernelCall(this.#args(), () => {
      native.vfioDetach(device, false);
    });
    this.#attached(undefined);
  }

  /** Detaches, if it is attached, also while it is being closed. @internal */
  leave(): void {
    if (!this.#ioas) return;
    kernelCall(this.#args(), () => {
      native.vfioDetach(this.#handle, false);
    });
    this.#attached(undefined);
  }

  /** The same on a pool thread. @internal */
  leaveLater(): Promise<void> {
    this.#leaving ??= this.#leaveOnce().finally(() => (this.#leaving = undefined));
    return this.#leaving;
  }

  async #leaveOnce(): Promise<void> {
    if (!this.#ioas) return;
    await kernelCallAsync(this.#args(), () => native.vfioDetach(this.#handle, true));
    this.#attached(undefined);
  }

  /** What the device is (VFIO_DEVICE_GET_INFO). */
  info(): DeviceInfo {
    const info = kernelCall(this.#args(), () => native.vfioInfo(this.handle));
    return {
      pci: (info.flags & deviceFlags.pci) !== 0,
      resettable: (info.flags & deviceFlags.reset) !== 0,
      regions: info.regions,
      irqs: info.irqs,
      flags: info.flags,
      capabilities: parseChain(info),
    };
  }

  /**
   * A region by its index: 0 to 5 the BARs, 6 the ROM, 7 config space.
   *
   * @throws KernelError EINVAL: no such index, or the device is not bound.
   */
  region(index: number): Region {
    return new Region(this, integer(index, 'index', 0, 0xffff));
  }

  /** All regions that the device has. */
  regions(): Region[] {
    const regions = [];
    for (let index = 0; index < this.info().regions; index += 1) {
      try {
        const region = this.region(index);
        if (region.size > 0n) regions.push(region);
      } catch (error) {
        // An index that this device does not have, such as VGA's.
        if (!(error instanceof KernelError && error.code === 'EINVAL')) throw error;
      }
    }
    return regions;
  }

  /** PCI config space, as vfio-pci presents it. */
  get config(): Region {
    this.#config ??= this.region(configRegion);
    return this.#config;
  }

  /** What an interrupt index (0 INTx, 1 MSI, 2 MSI-X, 3 error, 4 request) offers. */
  irqInfo(index: number): IrqInfo {
    integer(index, 'index', 0, 0xffff);
    const { flags, count } = kernelCall({ irq: index }, () => native.vfioIrqInfo(this.handle, index));
    return {
      count,
      eventfd: (flags & irqFlags.eventfd) !== 0,
      maskable: (flags & irqFlags.maskable) !== 0,
      automasked: (flags & irqFlags.automasked) !== 0,
      noresize: (flags & irqFlags.noresize) !== 0,
    };
  }

  /** Whether this device knows a feature, and for which operations. Nothing is changed or exported by asking. */
  probe(feature: VfioFeature): { get: boolean; set: boolean } {
    const number = vfioFeatures[oneOf(feature, 'feature', Object.keys(vfioFeatures) as VfioFeature[])];
    const ask = (operation: number) => kernelCall({ feature }, () => native.vfioProbe(this.handle, number, operation));
    return { get: ask(featureOperations.get), set: ask(featureOperations.set) };
  }

  /**
   * Resets the device. The kernel restores config space, the command register included. Every dma-buf exported from the
   * device is revoked, and its mappings are dead until {@link IoasMapping.remap}.
   *
   * @throws KernelError EINVAL: no reset method, or not bound. EAGAIN: locked by others.
   */
  async reset(): Promise<void> {
    const device = this.handle;
    await this.#changing(() => native.vfioReset(device, true));
  }

  /** {@link reset}, waiting. */
  resetSync(): void {
    const device = this.handle;
    this.#changingSync(() => {
      native.vfioReset(device, false);
    });
  }

  /**
   * Which devices share this one's slot or bus, and are reset with it by {@link hotReset}.
   *
   * @throws KernelError ENODEV: neither slot nor bus can be reset, as on a root complex. EINVAL: not bound.
   */
  hotResetInfo(): HotResetInfo {
    return toHotResetInfo(kernelCall(this.#args(), () => native.vfioHotResetInfo(this.handle)));
  }

  /**
   * Resets the slot or bus that the device is on, with all devices there (VFIO_DEVICE_PCI_HOT_RESET). All of them must be
   * bound to the same iommufd as this one, or to nothing. What they exported is revoked, as by {@link reset}.
   *
   * @throws Error ERR_NOT_OWNED: a device there belongs to somebody else. KernelError ENODEV: as {@link hotResetInfo}. EBUSY:
   *   a device is in use; mappings may be revoked all the same.
   */
  async hotReset(): Promise<void> {
    const [device, addresses] = [this.handle, this.#toHotReset()];
    await this.#changing(() => native.vfioHotReset(device, addresses, true));
  }

  /** {@link hotReset}, waiting. */
  hotResetSync(): void {
    const [device, addresses] = [this.handle, this.#toHotReset()];
    this.#changingSync(() => {
      native.vfioHotReset(device, addresses, false);
    });
  }

  #toHotReset(): string[] {
    const { allowed, devices } = this.hotResetInfo();
    const foreign = devices.filter((device) => device.foreign).map((device) => device.address);
    if (!allowed) {
      throw codedError(
        'ERR_NOT_OWNED',
        `a hot reset would reset ${foreign.join(', ')}, too, which this iommufd does not own: bind all devices of the bus ` +
          'to vfio-pci, and open those that are in use with the same iommufd',
      );
    }
    return devices.map((device) => device.address);
  }

  /**
   * Lets the device go to low power while nobody accesses it (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY). What it exported is
   * revoked, and its mapped registers are out of reach, until {@link exitLowPower}.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: no such feature.
   */
  async enterLowPower(): Promise<void> {
    const device = this.handle;
    await this.#changing(() => native.vfioEnterLowPower(device, true));
  }

  /** {@link enterLowPower}, waiting. */
  enterLowPowerSync(): void {
    const device = this.handle;
    this.#changingSync(() => {
      native.vfioEnterLowPower(device, false);
    });
  }

  /** Ends low power (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT). No error if the device is not in it. */
  async exitLowPower(): Promise<void> {
    const device = this.handle;
    await this.#changing(() => native.vfioExitLowPower(device, true));
  }

  /** {@link exitLowPower}, waiting. */
  exitLowPowerSync(): void {
    const device = this.handle;
    this.#changingSync(() => {
      native.vfioExitLowPower(device, false);
    });
  }

  /** A call after which what was exported may be revoked, or may be mapped again. */
  async #changing(call: () => Promise<void>): Promise<void> {
    try {
      await this.#calls.add(kernelCallAsync(this.#args(), call));
    } finally {
      this.changed();
    }
  }

  #changingSync(call: () => void): void {
    try {
      kernelCall(this.#args(), call);
    } finally {
      this.changed();
    }
  }

  /** Tells the watchers of mappings if the device has changed. @internal */
  changed(): void {
    const word = this.#word();
    if (word === this.#told) return;
    this.#told = word;
    tellWatchers(this.kernel);
  }

  /**
   * Exports part of a BAR as a dma-buf (VFIO_DEVICE_FEATURE_DMA_BUF), from Linux 6.19 on. Several ranges make one buffer
   * whose bytes are theirs in order; IOMMUFD maps only buffers of one range. With memory space off the export succeeds
   * and is revoked: switch memory on before mapping it.
   *
   * @throws KernelError EINVAL: misaligned, empty, past the BAR's end, I/O ports. ENODEV: not a BAR. EOPNOTSUPP: the
   *   driver does not export. ENOTTY: a kernel before 6.19.
   */
  exportDmaBuf(opts: ExportOptions): DmaBuf {
    const what = options(opts);
    const region = integer(what.region, 'region', 0, 0xffff_ffff);
    const ranges: readonly DmaRange[] = 'ranges' in what ? array(what.ranges, 'ranges') : [what];
    integer(ranges.length, 'ranges.length', 0, mostRanges);
    const words = new BigUint64Array(2 * ranges.length);
    let size = 0n;
    for (const [i, range] of ranges.entries()) {
      const { offset, length } = options(range, 'range');
      const count = u64(length, 'length');
      words[2 * i] = u64(offset, 'offset');
      words[2 * i + 1] = count;
      size += count;
    }
    followSubscribers();
    try {
      return new DmaBuf(this.kernel, native.vfioExportDmaBuf(this.handle, region, words), size);
    } catch (error) {
      const args = { ...this.#args(), region, offset: words[0], length: words[1], ranges: ranges.length };
      throw explain(error, args, { ...this.#around(), words });
    }
  }

  /** Notes a mapped region, to close it before the device. @internal */
  adopt(mapped: MappedRegion): void {
    this.#mapped.add(mapped);
  }

  /** @internal */
  forget(mapped: MappedRegion): void {
    this.#mapped.delete(mapped);
  }

  /**
   * Closes mapped regions, detaches, and, with the last fd on it, gives the device back: the kernel resets it, and its
   * dma-bufs are dead for good. Calls that are under way on pool threads are finished, and the fd closes behind the last;
   * `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  close(): void {
    if (this.#closed) return;
    for (const mapped of [...this.#mapped]) mapped.close();
    try {
      this.leave();
    } finally {
      this.#closed = true;
      this.#released = true;
      wasClosed(this);
      native.vfioClose(this.#handle, false);
      native.fdClose(this.#fd, false);
      this.#iommufd?.forget(this);
      this.changed();
    }
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on a pool thread, for `await using`: the reset can take a second. Waits for calls that are under way. From the
   * start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closed
      ? this.#calls.idle()
      : this.#closeLater().finally(() => {
          this.#closing = Promise.resolve(); // its error was told
        });
    return this.#closing;
  }

  async #closeLater(): Promise<void> {
    for (const mapped of [...this.#mapped]) mapped.close();
    this.#closed = true;
    await this.#calls.idle();
    try {
      await this.leaveLater();
    } finally {
      this.#released = true;
      wasClosed(this);
      native.fdClose(this.#fd, false); // the device has a share of it
      const closed = native.vfioClose(this.#handle, true);
      this.changed();
      await closed;
      this.#iommufd?.forget(this);
    }
  }
}
