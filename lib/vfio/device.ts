// VfioDevice: the public class for a VFIO device. It delegates to its parts: the open file (device-file.ts), the
// iommufd and attachments (attachments.ts), reset and low power (power.ts), interrupts, migration, …
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
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

/** The operations that a device supports for a feature. */
export interface FeatureOperations {
  get: boolean;
  set: boolean;
}

/** PASIDs have 20 bits. 0 means DMA without a PASID, for which attach() is used. */
function toPasid(pasid: number): number {
  return integer(pasid, 'pasid', 1, 0xf_ffff);
}

/** A PCI device or a mediated device that this process has opened through VFIO. */
export class VfioDevice extends Closable {
  readonly kernel: Kernel;
  /** The PCI address, or a mediated device's UUID, if sysfs provides it. */
  readonly address: string | undefined;
  /** The PCI command register. */
  readonly command: CommandRegister;
  /** The interrupts: INTx, MSI, MSI-X, and the error and request notifications. */
  readonly interrupts: Interrupts;
  /** Migration of the device's state to another device. */
  readonly migration: Migration;
  /** The log of pages that the device writes to. */
  readonly dmaLogging: DmaLogging;
  /** The display planes, if the device is a display. */
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

  static {
    shown(
      this,
      'closed',
      'address',
      'fd',
      'through',
      'id',
      ['ioas', ({ ioas }) => ioas?.id],
      ['hwpt', ({ hwpt }) => hwpt?.id],
      ['group', ({ group }) => group?.number],
    );
  }

  /** @internal */
  private constructor(made: Key, kernel: Kernel, opened: Opened, address: string | undefined) {
    onlyInside(made, 'VfioDevice', 'use VfioDevice.open()');
    const handle = toHandle(opened, address);
    super(VfioDevice.#end);
    this.kernel = kernel;
    this.address = address;
    this.#file = new DeviceFile(this.life, kernel, opened, handle, address);
    this.#attachments = new Attachments(this, this.#file);
    this.#power = new Power(this.#file);
    this.command = new CommandRegister(key, () => this.config);
    this.interrupts = new Interrupts(key, this);
    this.migration = new Migration(key, this.#file, this.#power);
    this.dmaLogging = new DmaLogging(key, this.#file);
    this.gfx = new Gfx(key, this.#file);
    opened.use?.group.adopt(this);
  }

  /**
   * Opens a device through its character device or, on kernels without VFIO character devices, through its IOMMU group.
   * {@link through} tells which was used. With `iommufd`, the device is bound to it. With `container`, the device's
   * group is added to it (VFIO_GROUP_GET_DEVICE_FD), and removed when the last of its devices is closed. Without both,
   * a character device is not bound yet, and a group is added to a new container. If a step fails, everything is closed
   * again.
   *
   * @param target a PCI address ('0000:03:00.0' or '03:00.0'), a mediated device's UUID, the path of a character device
   *   ('/dev/vfio/devices/vfio0'), or the number of an open fd (it is duplicated; the caller still owns its own fd)
   * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO. ERR_WRONG_NODE: the file in /dev belongs to another
   *   device. KernelError EACCES (also: a VF token is required), EBUSY, EINVAL (already bound), EPERM.
   */
  static async open(target: string | number, opts?: OpenOptions): Promise<VfioDevice> {
    const { kernel, iommufd, binding, open, addressOf } = toTarget(target, opts);
    const opened = await open();
    const device = new VfioDevice(key, kernel, opened, addressOf(opened.fd));
    try {
      if (iommufd && !opened.use) await device.bind(iommufd, binding);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** Synchronous version of {@link open}. */
  static openSync(target: string | number, opts?: OpenOptions): VfioDevice {
    const { kernel, iommufd, binding, openSync, addressOf } = toTarget(target, opts);
    const opened = openSync();
    const device = new VfioDevice(key, kernel, opened, addressOf(opened.fd));
    try {
      if (iommufd && !opened.use) device.bindSync(iommufd, binding);
    } catch (error) {
      device.close();
      throw error;
    }
    return device;
  }

  /** The file descriptor's number, for passing it on. This object owns it: do not close it. */
  get fd(): number {
    return this.#file.fd;
  }

  /** Whether the device was opened through its character device or its IOMMU group. */
  get through(): 'cdev' | 'group' {
    return this.#file.use ? 'group' : 'cdev';
  }

  /** The IOMMU group that the device was opened through. */
  get group(): VfioGroup | undefined {
    return this.#file.use?.group;
  }

  /** The container that the device's DMA uses. */
  get container(): VfioContainer | undefined {
    const container = this.group?.container;
    return container instanceof VfioContainer ? container : undefined;
  }

  /** The open file, for the parts of the device. @internal */
  get file(): DeviceFile {
    return this.#file;
  }

  /** @internal */
  get handle(): VfioHandle {
    return this.#file.handle;
  }

  /** The iommufd that this object bound the device to, or that its group was added to. */
  get iommufd(): Iommufd | undefined {
    return this.#attachments.iommufd;
  }

  /** The device's object ID in its iommufd. Undefined until bound. */
  get id(): number | undefined {
    return this.#attachments.id;
  }

  /** The IOAS that the device is attached to, directly or through one of its page tables. */
  get ioas(): Ioas | undefined {
    const { table } = this.#attachments;
    return table instanceof Hwpt ? table.ioas : table;
  }

  /** The page table that the device is attached to. Undefined: it is attached to an IOAS directly, or not at all. */
  get hwpt(): Hwpt | undefined {
    const { table } = this.#attachments;
    return table instanceof Hwpt ? table : undefined;
  }

  /**
   * Binds the device to an iommufd (VFIO_DEVICE_BIND_IOMMUFD). Most other methods need this. The device is closed
   * before the iommufd.
   *
   * @throws KernelError EINVAL: bound already. EPERM: another device of the IOMMU group is bound to a kernel driver or
   *   another iommufd, or interrupts are not isolated. EBUSY: the group is open through /dev/vfio/GROUP. EACCES: a VF
   *   token is required, or the token is wrong. EBADFD: not an iommufd.
   */
  async bind(iommufd: Iommufd, opts?: BindOptions): Promise<void> {
    await this.#attachments.bind(iommufd, opts);
  }

  /** Synchronous version of {@link bind}. */
  bindSync(iommufd: Iommufd, opts?: BindOptions): void {
    this.#attachments.bindSync(iommufd, opts);
  }

  /**
   * Attaches the device to an IOAS or to one of its page tables (VFIO_DEVICE_ATTACH_IOMMUFD_PT). The device's DMA uses
   * it from now on. If the device was attached elsewhere, it moves, together with the other attached devices of its
   * IOMMU group.
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd. KernelError EINVAL: not bound, a page table that the
   *   device's IOMMU cannot use, or another device of the IOMMU group is attached elsewhere. EADDRINUSE: there are
   *   mappings at IOVAs that the device cannot use. ENOMEM: the first attached device pins the mapped host memory, and
   *   that exceeds RLIMIT_MEMLOCK.
   */
  async attach(table: Ioas | Hwpt): Promise<void> {
    await this.#attachments.attach(table);
  }

  /** Synchronous version of {@link attach}. */
  attachSync(table: Ioas | Hwpt): void {
    this.#attachments.attachSync(table);
  }

  /** Detaches the device (VFIO_DEVICE_DETACH_IOMMUFD_PT), which blocks its DMA. No error if it is not attached. */
  async detach(): Promise<void> {
    await this.#attachments.detach();
  }

  /** Synchronous version of {@link detach}. */
  detachSync(): void {
    this.#attachments.detachSync();
  }

  /**
   * Attaches the DMA that carries `pasid`, 1 to 0xfffff, to its own address space (VFIO_DEVICE_ATTACH_IOMMUFD_PT with a
   * PASID). If the PASID was attached elsewhere, it moves, together with the same PASID of the other devices of the
   * IOMMU group. The kernel does not check whether the device supports PASIDs.
   *
   * @throws Error ERR_OTHER_IOMMUFD: a page table of another iommufd. KernelError EINVAL: not bound, or a page table
   *   was allocated without `pasid`: this one, or the one that the device itself is attached to. Page tables that the
   *   kernel allocates for an IOAS are without it. EOPNOTSUPP: the driver does not support PASIDs.
   */
  async attachPasid(table: Ioas | Hwpt, pasid: number): Promise<void> {
    await this.#attachments.attach(table, toPasid(pasid));
  }

  /** Synchronous version of {@link attachPasid}. */
  attachPasidSync(table: Ioas | Hwpt, pasid: number): void {
    this.#attachments.attachSync(table, toPasid(pasid));
  }

  /**
   * Detaches the DMA that carries `pasid`, which blocks it (VFIO_DEVICE_DETACH_IOMMUFD_PT with a PASID). No error if it
   * is not attached.
   */
  async detachPasid(pasid: number): Promise<void> {
    await this.#attachments.detach(toPasid(pasid));
  }

  /** Synchronous version of {@link detachPasid}. */
  detachPasidSync(pasid: number): void {
    this.#attachments.detachSync(toPasid(pasid));
  }

  /**
   * Resets the device (VFIO_DEVICE_RESET). The kernel restores config space, including the command register. All
   * dma-bufs that were exported from the device are revoked. Their mappings stay 'revoked' until
   * {@link IoasMapping.remap}.
   *
   * @throws KernelError EINVAL: the device has no reset method, or is not bound. EAGAIN: another task has locked the
   *   device.
   */
  async reset(): Promise<void> {
    await this.#power.reset();
  }

  /** Synchronous version of {@link reset}. */
  resetSync(): void {
    this.#power.resetSync();
  }

  /**
   * Returns the devices that {@link hotReset} resets: those on the same slot or bus
   * (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO).
   *
   * @throws KernelError ENODEV: neither the slot nor the bus can be reset, for example on a root complex. EINVAL: not
   *   bound.
   */
  hotResetInfo(): HotResetInfo {
    return this.#power.hotResetInfo();
  }

  /**
   * Resets the device's slot or bus with all its devices (VFIO_DEVICE_PCI_HOT_RESET). Each of them must be bound to the
   * same iommufd as this device, or to nothing. If the devices were opened through groups, all groups must be in the
   * same container. The dma-bufs that they exported are revoked, as by {@link reset}.
   *
   * @throws Error ERR_NOT_OWNED: a device on the slot or bus does not belong to this iommufd or container. KernelError
   *   ENODEV: as for {@link hotResetInfo}. EBUSY: a device is in use. Mappings may be revoked nevertheless.
   */
  async hotReset(): Promise<void> {
    await this.#power.hotReset();
  }

  /** Synchronous version of {@link hotReset}. */
  hotResetSync(): void {
    this.#power.hotResetSync();
  }

  /**
   * Allows the device to enter low power while it is not accessed (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY). Until
   * {@link exitLowPower}, its exported dma-bufs are revoked and its mapped registers are not accessible.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: the device does not support the feature.
   */
  async enterLowPower(): Promise<void> {
    await this.#power.enterLowPower();
  }

  /** Synchronous version of {@link enterLowPower}. */
  enterLowPowerSync(): void {
    this.#power.enterLowPowerSync();
  }

  /**
   * Like {@link enterLowPower}, but the first access to the device ends low power
   * (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP). This can be an access through this object, an access by another
   * process, or a wakeup signal of the device. Accesses to mapped registers do not count. The device suspends shortly
   * after this call. An access before that does not end low power.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: the device does not support the feature.
   */
  async enterLowPowerWithWakeUp(): Promise<WakeUp> {
    return this.#power.enterLowPowerWithWakeUp();
  }

  /** Synchronous version of {@link enterLowPowerWithWakeUp}. */
  enterLowPowerWithWakeUpSync(): WakeUp {
    return this.#power.enterLowPowerWithWakeUpSync();
  }

  /** Ends low power (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT). No error if the device is not in low power. */
  async exitLowPower(): Promise<void> {
    await this.#power.exitLowPower();
  }

  /** Synchronous version of {@link exitLowPower}. */
  exitLowPowerSync(): void {
    this.#power.exitLowPowerSync();
  }

  /** Returns the device's properties (VFIO_DEVICE_GET_INFO). */
  info(): DeviceInfo {
    return toDeviceInfo(kernelCall(this.#file.args(), () => native.vfioInfo(this.handle)));
  }

  /**
   * Returns a region by its index (VFIO_DEVICE_GET_REGION_INFO). 0 to 5: the BARs. 6: the ROM. 7: config space.
   *
   * @throws KernelError EINVAL: no such index, or the device is not bound.
   */
  region(index: number): Region {
    return new Region(key, this, integer(index, 'index', 0, 0xffff));
  }

  /** Returns all regions that the device has. */
  regions(): Region[] {
    const regions = [];
    for (let index = 0; index < this.info().regions; index += 1) {
      try {
        const region = this.region(index);
        if (region.size > 0n) regions.push(region);
      } catch (error) {
        // The device does not have this region, for example VGA.
        if (!(error instanceof KernelError && error.code === 'EINVAL')) throw error;
      }
    }
    return regions;
  }

  /** PCI config space, as vfio-pci virtualizes it. */
  get config(): Region {
    this.#config ??= this.region(configRegion);
    return this.#config;
  }

  /** Returns the capabilities in PCI config space. vfio-pci hides some of them. */
  pciCapabilities(): PciCapability[] {
    const config = this.config;
    return pciCapabilities((offset, length) => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, Number(config.size) - offset)));
      return bytes.subarray(0, bytes.length === 0 ? 0 : config.read(offset, bytes));
    });
  }

  /**
   * Returns the properties of an interrupt index (VFIO_DEVICE_GET_IRQ_INFO). 0: INTx. 1: MSI. 2: MSI-X. 3: error. 4:
   * request.
   */
  irqInfo(index: number): IrqInfo {
    integer(index, 'index', 0, 0xffff);
    return toIrqInfo(kernelCall({ irq: index }, () => native.vfioIrqInfo(this.handle, index)));
  }

  /**
   * Returns the operations that the device supports for a feature (VFIO_DEVICE_FEATURE with PROBE). Without an
   * argument, returns them for all features. Probing changes and exports nothing.
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
   * Sets the VF token of an SR-IOV physical function, a UUID (VFIO_DEVICE_FEATURE_PCI_VF_TOKEN). The token is required
   * to open one of its virtual functions, or to open this function while they are in use. It cannot be read back.
   *
   * @throws KernelError ENOTTY: not a physical function. EINVAL: not bound.
   */
  setVfToken(token: string): void {
    const bytes = toVfToken(token, 'token');
    kernelCall(this.#file.args(), () => native.vfioSetVfToken(this.handle, bytes));
  }

  /**
   * Enables or disables DMA of a device without a PCI command register, for example on a CDX bus
   * (VFIO_DEVICE_FEATURE_BUS_MASTER). For PCI devices, use {@link CommandRegister.busMaster}.
   *
   * @throws KernelError ENOTTY: the device does not support the feature, as on PCI. EINVAL: not bound.
   */
  setBusMaster(on: boolean): void {
    boolean(on, 'on');
    kernelCall(this.#file.args(), () => native.vfioSetBusMaster(this.handle, on));
  }

  /**
   * Returns the next error that a PCI function of an s390 machine has reported (VFIO_DEVICE_FEATURE_ZPCI_ERROR).
   *
   * @throws KernelError ENOMSG: none is pending. ENOTTY: not an s390 machine. EINVAL: not bound.
   */
  zpciError(): bigint {
    return kernelCall(this.#file.args(), () => native.vfioZpciError(this.handle));
  }

  /**
   * Exports a part of a BAR as a dma-buf (VFIO_DEVICE_FEATURE_DMA_BUF), from Linux 6.19 on. Several ranges form one
   * buffer that contains them in order. IOMMUFD maps only buffers of one range. If memory space is off, the export
   * succeeds but the buffer is revoked: enable memory space before mapping it.
   *
   * @throws KernelError EINVAL: misaligned, empty, past the BAR's end, I/O ports. ENODEV: not a BAR. EOPNOTSUPP: the
   *   driver does not support export. ENOTTY: a kernel before 6.19.
   */
  exportDmaBuf(opts: ExportOptions): DmaBuf {
    const { region, words, size } = toExport(opts);
    followSubscribers();
    try {
      return new DmaBuf(key, this.kernel, native.vfioExportDmaBuf(this.handle, region, words), size);
    } catch (error) {
      const args = { ...this.#file.args(), region, offset: words[0], length: words[1], ranges: words.length / 2 };
      throw explain(error, args, { ...this.#file.around(), words });
    }
  }

  /**
   * Closes the device's mapped regions and other dependent objects, detaches the device, and closes its fd. With the
   * last fd, the kernel resets the device and revokes its dma-bufs permanently. If calls are running on other threads,
   * the fd is closed after the last of them. `[Symbol.asyncDispose]()` waits for them, also after close().
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on another thread, for `await using`: the reset can take a second. Waits for running calls. From the start,
   * every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
