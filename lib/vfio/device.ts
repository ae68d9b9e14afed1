import { DmaBuf } from '../dmabuf/dma-buf';
import { explain, kernelCall, KernelError } from '../errors/errors';
import { native } from '../addon/native';
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
import { ResettableDevice } from './resettable-device';
import { toVfToken } from './vf-token';

/** For which operations a device knows a feature. */
export interface FeatureOperations {
  get: boolean;
  set: boolean;
}

/** A device that VFIO holds for this process: a PCI device, or a mediated one. */
export class VfioDevice extends ResettableDevice {
  /** The PCI command register. */
  readonly command: CommandRegister = new CommandRegister(() => this.config);
  /** INTx, MSI, MSI-X, and the error and request channels. */
  readonly interrupts: Interrupts = new Interrupts(this);
  /** Moving its state to another device. */
  readonly migration: Migration = new Migration(this);
  /** The log of the pages that it writes to. */
  readonly dmaLogging: DmaLogging = new DmaLogging(this);
  /** What it shows, if it is a display. */
  readonly gfx: Gfx = new Gfx(this);
  #config: Region | undefined;

  /** @internal */
  override changed(): void {
    super.changed();
    this.migration.wake();
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
   * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO. KernelError EACCES (also: a VF token is wanted), EBUSY, EINVAL (already
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

  /** What the device is (VFIO_DEVICE_GET_INFO). */
  info(): DeviceInfo {
    return toDeviceInfo(kernelCall(this.args(), () => native.vfioInfo(this.handle)));
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
    kernelCall(this.args(), () => {
      native.vfioSetVfToken(this.handle, bytes);
    });
  }

  /**
   * Lets a device do DMA or keeps it from it, where there is no command register for that, as on CDX buses
   * (VFIO_DEVICE_FEATURE_BUS_MASTER). A PCI device has {@link CommandRegister.busMaster}.
   *
   * @throws KernelError ENOTTY: no such feature, as on PCI. EINVAL: not bound.
   */
  setBusMaster(on: boolean): void {
    boolean(on, 'on');
    kernelCall(this.args(), () => {
      native.vfioSetBusMaster(this.handle, on);
    });
  }

  /**
   * The next error that a PCI function of an s390 machine has reported (VFIO_DEVICE_FEATURE_ZPCI_ERROR).
   *
   * @throws KernelError ENOMSG: none is pending. ENOTTY: not an s390 machine. EINVAL: not bound.
   */
  zpciError(): bigint {
    return kernelCall(this.args(), () => native.vfioZpciError(this.handle));
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
      const args = { ...this.args(), region, offset: words[0], length: words[1], ranges: words.length / 2 };
      throw explain(error, args, { ...this.around(), words });
    }
  }
}
