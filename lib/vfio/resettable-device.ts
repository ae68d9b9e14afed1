// What takes a VFIO device's memory away for a while: reset, hot reset, low power.
import { codedError, kernelCall } from '../errors';
import { native } from '../native';
import { BoundDevice } from './bound-device';
import { toHotResetInfo, type HotResetInfo } from './hot-reset';

/** How a VFIO device is reset and put to sleep. */
export abstract class ResettableDevice extends BoundDevice {
  /**
   * Resets the device. The kernel restores config space, the command register included. Every dma-buf exported from the
   * device is revoked, and its mappings are dead until {@link IoasMapping.remap}.
   *
   * @throws KernelError EINVAL: no reset method, or not bound. EAGAIN: locked by others.
   */
  async reset(): Promise<void> {
    const device = this.handle;
    await this.changing(() => native.vfioReset(device, true));
  }

  /** {@link reset}, waiting. */
  resetSync(): void {
    const device = this.handle;
    this.changingSync(() => {
      native.vfioReset(device, false);
    });
  }

  /**
   * Which devices share this one's slot or bus, and are reset with it by {@link hotReset}.
   *
   * @throws KernelError ENODEV: neither slot nor bus can be reset, as on a root complex. EINVAL: not bound.
   */
  hotResetInfo(): HotResetInfo {
    return toHotResetInfo(kernelCall(this.args(), () => native.vfioHotResetInfo(this.handle)));
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
    await this.changing(() => native.vfioHotReset(device, addresses, true));
  }

  /** {@link hotReset}, waiting. */
  hotResetSync(): void {
    const [device, addresses] = [this.handle, this.#toHotReset()];
    this.changingSync(() => {
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
    await this.changing(() => native.vfioEnterLowPower(device, true));
  }

  /** {@link enterLowPower}, waiting. */
  enterLowPowerSync(): void {
    const device = this.handle;
    this.changingSync(() => {
      native.vfioEnterLowPower(device, false);
    });
  }

  /** Ends low power (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT). No error if the device is not in it. */
  async exitLowPower(): Promise<void> {
    const device = this.handle;
    await this.changing(() => native.vfioExitLowPower(device, true));
  }

  /** {@link exitLowPower}, waiting. */
  exitLowPowerSync(): void {
    const device = this.handle;
    this.changingSync(() => {
      native.vfioExitLowPower(device, false);
    });
  }
}
