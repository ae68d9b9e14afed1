import { DmaBuf } from '../dmabuf/dma-buf';
import { explain, kernelCall, KernelError } from '../errors';
import { native } from '../native';
import { followSubscribers } from '../trace';
import { integer, oneOf } from '../validate';
import { CommandRegister } from './command-register';
import { configRegion, featureOperations, vfioFeatures, type VfioFeature } from './constants';
import { toExport, type ExportOptions } from './export';
import { toDeviceInfo, toIrqInfo, type DeviceInfo, type IrqInfo } from './info';
import { toTarget, type OpenOptions } from './open';
import { Region } from './region';
import { ResettableDevice } from './resettable-device';

/** A PCI device that VFIO holds for this process. */
export class VfioDevice extends ResettableDevice {
  /** The PCI command register. */
  readonly command: CommandRegister = new CommandRegister(() => this.config);
  #config: Region | undefined;

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

  /** What the device is (VFIO_DEVICE_GET_INFO). */
  info(): DeviceInfo {
    return toDeviceInfo(kernelCall(this.args(), () => native.vfioInfo(this.handle)));
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
    return toIrqInfo(kernelCall({ irq: index }, () => native.vfioIrqInfo(this.handle, index)));
  }

  /** Whether this device knows a feature, and for which operations. Nothing is changed or exported by asking. */
  probe(feature: VfioFeature): { get: boolean; set: boolean } {
    const number = vfioFeatures[oneOf(feature, 'feature', Object.keys(vfioFeatures) as VfioFeature[])];
    const ask = (operation: number) => kernelCall({ feature }, () => native.vfioProbe(this.handle, number, operation));
    return { get: ask(featureOperations.get), set: ask(featureOperations.set) };
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
