// A VFIO device: everything that can be done with one. Its parts do the work: the open file (device-file.ts), the iommufd
// and what the DMA goes through (attachments.ts), reset and low power (power.ts), interrupts, migration, …
import { DmaBuf } from '../dmabuf/dma-buf';
import { explain, kernelCall, KernelError } from '../errors/errors';
import { native, type VfioHandle } from '../addon/native';
import { Hwpt } from '../iommufd/hwpt';
import type { Ioas } from '../iommufd/ioas';
import type { Iommufd } from '../iommufd/iommufd';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { Attachments, type BindOptions } from './attachments';
import { VfioContainer } from './container';
import { DeviceFile, toHandle, type Opened } from './device-file';
import type { VfioGroup } from './group';
import type { HotResetInfo } from './hot-reset';
import type { WakeUp } from './wake-up';
import { pciCapabilities, type PciCapability } from '../pci/capabilities';
import { followSubscribers } from '../addon/trace';
import { boolean, integer, oneOf } from '../errors/validate';
import { CommandRegister } from './command-register';
import { configRegion, featureOperations, vfioFeatures, type VfioFeature } from './constants';
import { toExport, type ExportOptions } from './export';
import { DmaLogging } from './dma-logging';
import { Gfx } from './gfx';
import { toDeviceInfo, toIrqInfo, type DeviceInfo, type IrqInfo } from './info';
import { Interrupts } from './interrupts';
import { Migration } from './migration';
import { toTarget, type OpenOptions } from './open';
import { Region } from './region';
import { Power } from './power';
import { toVfToken } from './vf-token';

/** For which operations a device knows a feature. */
export interface FeatureOperations {
  get: boolean;
  set: boolean;
}

/** PASIDs have 20 bits; 0 stands for DMA without one, which attach() is for. */
function toPasid(pasid: number): number {
  return integer(pasid, 'pasid', 1, 0xf_ffff);
}

/** A device that VFIO holds for this process: a PCI device, or a mediated one. */
export class VfioDevice extends Closable {
  readonly kernel: Kernel;
  /** The PCI address, or a mediated device's UUID, if sysfs tells it. */
  readonly address: string | undefined;
  /** The PCI command register. */
  readonly command: CommandRegister;
  /** INTx, MSI, MSI-X, and the error and request channels. */
  readonly interrupts: Interrupts;
  /** Moving its state to another device. */
  readonly migration: Migration;
  /** The log of the pages that it writes to. */
  readonly dmaLogging: DmaLogging;
  /** What it shows, if it is a display. */
  readonly gfx: Gfx;
  readonly #file: DeviceFile;
  readonly #attachments: Attachments;
  readonly #power: Power;
  #config: Region | undefined;

  static readonly #end: End<VfioDevice> = {
    what: 'VFIO device',
    first: (device) => {
      device.#file.closeChildren();
      return [];
    },
    close: (device) => {
      try {
        device.#attachments.leave();
      } finally {
        device.#file.release();
      }
    },
    closeLater: async (device) => {
      try {
        await device.#attachments.leaveLater();
      } finally {
        await device.#file.releaseLater();
      }
    },
    gone: (device, later) => {
      const { use } = device.#file;
      device.#attachments.gone();
      use?.group.forget(device);
      if (later) return use?.releaseLater();
      device.#file.changed();
      use?.release();
    },
  };

  /** @internal */
  private constructor(kernel: Kernel, opened: Opened, address: string | undefined) {
    const handle = toHandle(opened, address);
    super(VfioDevice.#end);
    this.kernel = kernel;
    this.address = address;
    this.#file = new DeviceFile(this.life, kernel, opened, handle, address);
    this.#attachments = new Attachments(this, this.#file);
    this.#power = new Power(this.#file);
    this.command = new CommandRegister(() => this.config);
    this.interrupts = new Interrupts(this);
    this.migration = new Migration(this.#file, this.#power);
    this.dmaLogging = new DmaLogging(this.#file);
    this.gfx = new Gfx(this.#file);
    opened.use?.group.adopt(this);
  }

  /**
   * Opens a device by whichever file the host has for it, which {@link through} says: its character device, or, on kernels
   * without those, its IOMMU group. If an iommufd is given, it is bound to that; if a container is given, its group is
   * put there (VFIO_GROUP_GET_DEVICE_FD), and leaves it with the last of its devices. Given neither, a character device is
   * left to be bound, and a group gets a container of its own. When anything fails, nothing stays open.
   *
   * @param target a PCI address ('0000:03:00.0' or '03:00.0'), a mediated device's UUID, a path of a character device
   *   ('/dev/vfio/devices/vfio0'), or the number of an fd that was handed over (it is duplicated; the caller's own stays
   *   open and the caller's)
   * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO; ERR_WRONG_NODE: the file in /dev is another device's. KernelError EACCES (also: a VF token is wanted), EBUSY, EINVAL (already
   *   bound), EPERM.
   */
  static async open(target: string | number, opts?: OpenOptions): Promise<VfioDevice> {
    const { kernel, iommufd, binding, open, addressOf } = toTarget(target, opts);
    const opened = await open();
    const device = new VfioDevice(kernel, opened, addressOf(opened.fd));
    try {
      if (iommufd && !opened.use) await device.bind(iommufd, binding);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** {@link open}, waiting. */
  static openSync(target: string | number, opts?: OpenOptions): VfioDevice {
    const { kernel, iommufd, binding, openSync, addressOf } = toTarget(target, opts);
    const opened = openSync();
    const device = new VfioDevice(kernel, opened, addressOf(opened.fd));
    try {
      if (iommufd && !opened.use) device.bindSync(iommufd, binding);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return this.#file.fd;
  }

  /** By which of VFIO's files it was opened: its character device, or its IOMMU group. */
  get through(): 'cdev' | 'group' {
    return this.#file.use ? 'group' : 'cdev';
  }

  /** The IOMMU group that it was opened through. */
  get group(): VfioGroup | undefined {
    return this.#file.use?.group;
  }

  /** The container that its DMA goes through. */
  get container(): VfioContainer | undefined {
    const container = this.group?.container;
    return container instanceof VfioContainer ? container : undefined;
  }

  /** What its parts call the kernel through. @internal */
  get file(): DeviceFile {
    return this.#file;
  }

  /** @internal */
  get handle(): VfioHandle {
    return this.#file.handle;
  }

  /** The iommufd that this object bound the device to, or that its group is in. */
  get iommufd(): Iommufd | undefined {
    return this.#attachments.iommufd;
  }

  /** The device's number in its iommufd, once bound. */
  get id(): number | undefined {
    return this.#attachments.id;
  }

  /** What the device's DMA goes through: the IOAS that it is attached to, itself or by one of its page tables. */
  get ioas(): Ioas | undefined {
    const { table } = this.#attachments;
    return table instanceof Hwpt ? table.ioas : table;
  }

  /** The page table that the device is attached to; undefined: an IOAS itself, or nothing. */
  get hwpt(): Hwpt | undefined {
    const { table } = this.#attachments;
    return table instanceof Hwpt ? table : undefined;
  }

  /**
   * Binds the device to an iommufd (VFIO_DEVICE_BIND_IOMMUFD). From then on it can be used, and it is closed before the iommufd.
   *
   * @throws KernelError EINVAL: bound already. EPERM: another device of the IOMMU group has a driver of the kernel or
   *   another iommufd, or interrupts are not isolated. EBUSY: the group is open through /dev/vfio/GROUP. EACCES: a VF token
   *   is wanted, or another one. EBADFD: not an iommufd.
   */
  async bind(iommufd: Iommufd, opts?: BindOptions): Promise<void> {
    await this.#attachments.bind(iommufd, opts);
  }

  /** {@link bind}, waiting. */
  bindSync(iommufd: Iommufd, opts?: BindOptions): void {
    this.#attachments.bindSync(iommufd, opts);
  }

  /**
   * Attaches the device to an IOAS or a page table of one (VFIO_DEVICE_ATTACH_IOMMUFD_PT): its DMA goes through that from now
   * on. If it was attached elsewhere, it moves, and so do the others of its IOMMU group that are attached.
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd. KernelError EINVAL: not bound, a page table that its IOMMU
   *   cannot use, or another device of its IOMMU group is attached elsewhere. EADDRINUSE: mappings where this device cannot have any. ENOMEM: the first device has the mapped host memory
   *   pinned, which went over RLIMIT_MEMLOCK.
   */
  async attach(table: Ioas | Hwpt): Promise<void> {
    await this.#attachments.attach(table);
  }

  /** {@link attach}, waiting. */
  attachSync(table: Ioas | Hwpt): void {
    this.#attachments.attachSync(table);
  }

  /** Detaches the device (VFIO_DEVICE_DETACH_IOMMUFD_PT): its DMA is blocked from now on. No error if it is not attached. */
  async detach(): Promise<void> {
    await this.#attachments.detach();
  }

  /** {@link detach}, waiting. */
  detachSync(): void {
    this.#attachments.detachSync();
  }

  /**
   * Attaches the DMA that carries `pasid`, 1 to 0xfffff, to an address space of its own (VFIO_DEVICE_ATTACH_IOMMUFD_PT with
   * a PASID). If it was attached elsewhere, it moves, and so do the same PASIDs of the others of its IOMMU group. The kernel
   * does not ask whether the device has PASIDs.
   *
   * @throws Error ERR_OTHER_IOMMUFD: a page table of another iommufd. KernelError EINVAL: not bound; or the page table, or what
   *   the device itself is attached to, was not made for PASIDs, as the ones that the kernel makes for an IOAS are not.
   *   EOPNOTSUPP: the driver has no PASIDs.
   */
  async attachPasid(table: Ioas | Hwpt, pasid: number): Promise<void> {
    await this.#attachments.attach(table, toPasid(pasid));
  }

  /** {@link attachPasid}, waiting. */
  attachPasidSync(table: Ioas | Hwpt, pasid: number): void {
    this.#attachments.attachSync(table, toPasid(pasid));
  }

  /**
   * Detaches the DMA that carries `pasid` (VFIO_DEVICE_DETACH_IOMMUFD_PT with a PASID): it is blocked from now on. No error
   * if it is not attached.
   */
  async detachPasid(pasid: number): Promise<void> {
    await this.#attachments.detach(toPasid(pasid));
  }

  /** {@link detachPasid}, waiting. */
  detachPasidSync(pasid: number): void {
    this.#attachments.detachSync(toPasid(pasid));
  }

  /**
   * Resets the device (VFIO_DEVICE_RESET). The kernel restores config space, the command register included. Every dma-buf
   * exported from the device is revoked, and its mappings are dead until {@link IoasMapping.remap}.
   *
   * @throws KernelError EINVAL: no reset method, or not bound. EAGAIN: locked by others.
   */
  async reset(): Promise<void> {
    await this.#power.reset();
  }

  /** {@link reset}, waiting. */
  resetSync(): void {
    this.#power.resetSync();
  }

  /**
   * Which devices share this one's slot or bus, and are reset with it by {@link hotReset} (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO).
   *
   * @throws KernelError ENODEV: neither slot nor bus can be reset, as on a root complex. EINVAL: not bound.
   */
  hotResetInfo(): HotResetInfo {
    return this.#power.hotResetInfo();
  }

  /**
   * Resets the slot or bus that the device is on, with all devices there (VFIO_DEVICE_PCI_HOT_RESET). All of them must be
   * bound to the same iommufd as this one, or to nothing; or, opened through their groups, all groups must be in the same
   * container. What they exported is revoked, as by {@link reset}.
   *
   * @throws Error ERR_NOT_OWNED: a device there belongs to somebody else. KernelError ENODEV: as {@link hotResetInfo}. EBUSY:
   *   a device is in use; mappings may be revoked all the same.
   */
  async hotReset(): Promise<void> {
    await this.#power.hotReset();
  }

  /** {@link hotReset}, waiting. */
  hotResetSync(): void {
    this.#power.hotResetSync();
  }

  /**
   * Lets the device go to low power while nobody accesses it (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY). What it exported is
   * revoked, and its mapped registers are out of reach, until {@link exitLowPower}.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: no such feature.
   */
  async enterLowPower(): Promise<void> {
    await this.#power.enterLowPower();
  }

  /** {@link enterLowPower}, waiting. */
  enterLowPowerSync(): void {
    this.#power.enterLowPowerSync();
  }

  /**
   * The same, but the first access to the device ends low power, whether through this object, by another process or by the
   * device's own signal (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP). Accesses to mapped registers are none. The device
   * falls asleep a moment later; an access before that wakes nobody.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: no such feature.
   */
  async enterLowPowerWithWakeUp(): Promise<WakeUp> {
    return this.#power.enterLowPowerWithWakeUp();
  }

  /** {@link enterLowPowerWithWakeUp}, waiting. */
  enterLowPowerWithWakeUpSync(): WakeUp {
    return this.#power.enterLowPowerWithWakeUpSync();
  }

  /** Ends low power (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT). No error if the device is not in it. */
  async exitLowPower(): Promise<void> {
    await this.#power.exitLowPower();
  }

  /** {@link exitLowPower}, waiting. */
  exitLowPowerSync(): void {
    this.#power.exitLowPowerSync();
  }

  /** What the device is (VFIO_DEVICE_GET_INFO). */
  info(): DeviceInfo {
    return toDeviceInfo(kernelCall(this.#file.args(), () => native.vfioInfo(this.handle)));
  }

  /**
   * A region by its index: 0 to 5 the BARs, 6 the ROM, 7 config space (VFIO_DEVICE_GET_REGION_INFO).
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

  /** The capabilities in the device's PCI config space, as vfio-pci presents them: some it hides. */
  pciCapabilities(): PciCapability[] {
    const config = this.config;
    return pciCapabilities((offset, length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, Number(config.size) - offset)));
      return bytes.subarray(0, bytes.length === 0 ? 0 : config.read(offset, bytes));
    });
  }

  /** What an interrupt index (0 INTx, 1 MSI, 2 MSI-X, 3 error, 4 request) offers (VFIO_DEVICE_GET_IRQ_INFO). */
  irqInfo(index: number): IrqInfo {
    integer(index, 'index', 0, 0xffff);
    return toIrqInfo(kernelCall({ irq: index }, () => native.vfioIrqInfo(this.handle, index)));
  }

  /**
   * Whether this device knows a feature, and for which operations; without an argument, all features' answers
   * (VFIO_DEVICE_FEATURE with PROBE). Nothing is changed or exported by asking.
   *
   * @throws KernelError EINVAL: the device is not bound.
   */
  probe(feature: VfioFeature): FeatureOperations;
  probe(): Record<VfioFeature, FeatureOperations>;
  probe(feature?: VfioFeature): FeatureOperations | Record<VfioFeature, FeatureOperations> {
    const names = Object.keys(vfioFeatures) as VfioFeature[];
    if (feature !== undefined) return this.#probe(oneOf(feature, 'feature', names));
    const answers = names.map((name) => [name, this.#probe(name)] as const);
    return Object.fromEntries(answers) as Record<VfioFeature, FeatureOperations>;
  }

  #probe(feature: VfioFeature): FeatureOperations {
    const ask = (operation: number) =>
      kernelCall({ feature }, () => native.vfioProbe(this.handle, vfioFeatures[feature], operation));
    return { get: ask(featureOperations.get), set: ask(featureOperations.set) };
  }

  /**
   * Sets the VF token of an SR-IOV physical function, a UUID: who opens one of its virtual functions, or this one while
   * they are in use, must know it (VFIO_DEVICE_FEATURE_PCI_VF_TOKEN). It cannot be read back.
   *
   * @throws KernelError ENOTTY: not a physical function. EINVAL: not bound.
   */
  setVfToken(token: string): void {
    const bytes = toVfToken(token, 'token');
    kernelCall(this.#file.args(), () => native.vfioSetVfToken(this.handle, bytes));
  }

  /**
   * Lets a device do DMA or keeps it from it, where there is no command register for that, as on CDX buses
   * (VFIO_DEVICE_FEATURE_BUS_MASTER). A PCI device has {@link CommandRegister.busMaster}.
   *
   * @throws KernelError ENOTTY: no such feature, as on PCI. EINVAL: not bound.
   */
  setBusMaster(on: boolean): void {
    boolean(on, 'on');
    kernelCall(this.#file.args(), () => native.vfioSetBusMaster(this.handle, on));
  }

  /**
   * The next error that a PCI function of an s390 machine has reported (VFIO_DEVICE_FEATURE_ZPCI_ERROR).
   *
   * @throws KernelError ENOMSG: none is pending. ENOTTY: not an s390 machine. EINVAL: not bound.
   */
  zpciError(): bigint {
    return kernelCall(this.#file.args(), () => native.vfioZpciError(this.handle));
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
    const { region, words, size } = toExport(opts);
    followSubscribers();
    try {
      return new DmaBuf(this.kernel, native.vfioExportDmaBuf(this.handle, region, words), size);
    } catch (error) {
      const args = { ...this.#file.args(), region, offset: words[0], length: words[1], ranges: words.length / 2 };
      throw explain(error, args, { ...this.#file.around(), words });
    }
  }

  /**
   * Closes what was made of it (mapped regions), detaches, and, with the last fd on it, gives the device back: the kernel resets it, and its
   * dma-bufs are dead for good. Calls that are under way on pool threads are finished, and the fd closes behind the last;
   * `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on a pool thread, for `await using`: the reset can take a second. Waits for calls that are under way. From the
   * start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
