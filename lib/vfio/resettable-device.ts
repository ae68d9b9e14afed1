// What takes a VFIO device's memory away for a while: reset, hot reset, low power.
import { codedError, kernelCall } from '../errors/errors';
import { native, type FdHandle } from '../addon/native';
import { VfioGroup } from './group';
import { toHotResetInfo, type HotResetInfo } from './hot-reset';
import { PasidDevice } from './pasid-device';
import { WakeUp } from './wake-up';

/** How a VFIO device is reset and put to sleep. */
export abstract class ResettableDevice extends PasidDevice {
  #wakeUp: WakeUp | undefined;
  /** The last call that enters or leaves low power, and all before it. */
  #power: Promise<unknown> = Promise.resolve();

  /**
   * Resets the device (VFIO_DEVICE_RESET). The kernel restores config space, the command register included. Every dma-buf
   * exported from the device is revoked, and its mappings are dead until {@link IoasMapping.remap}.
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
   * Which devices share this one's slot or bus, and are reset with it by {@link hotReset} (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO).
   *
   * @throws KernelError ENODEV: neither slot nor bus can be reset, as on a root complex. EINVAL: not bound.
   */
  hotResetInfo(): HotResetInfo {
    const mine = this.#groups().map((group) => group.number);
    return toHotResetInfo(
      kernelCall(this.args(), () => native.vfioHotResetInfo(this.handle)),
      mine,
    );
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
    const device = this.handle;
    const { addresses, groups } = this.#toHotReset();
    await this.changing(() => native.vfioHotReset(device, addresses, groups, true));
  }

  /** {@link hotReset}, waiting. */
  hotResetSync(): void {
    const device = this.handle;
    const { addresses, groups } = this.#toHotReset();
    this.changingSync(() => {
      native.vfioHotReset(device, addresses, groups, false);
    });
  }

  /** The groups that this thread has beside this device's: they vouch for their devices. */
  #groups(): VfioGroup[] {
    const { group } = this;
    return group?.container ? VfioGroup.inUse(group.container) : [];
  }

  #toHotReset(): { addresses: string[]; groups: FdHandle[] } {
    const { allowed, devices } = this.hotResetInfo();
    const foreign = devices.filter((device) => device.foreign).map((device) => device.address);
    if (!allowed) {
      throw codedError(
        'ERR_NOT_OWNED',
        `a hot reset would reset ${foreign.join(', ')}, too, which this iommufd does not own: bind all devices of the bus ` +
          'to vfio-pci, and open those that are in use with the same iommufd',
      );
    }
    const concerned = this.#groups().filter(({ number }) => devices.some(({ group }) => group === number));
    return { addresses: devices.map((device) => device.address), groups: concerned.map((group) => group.handle) };
  }

  /**
   * Lets the device go to low power while nobody accesses it (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY). What it exported is
   * revoked, and its mapped registers are out of reach, until {@link exitLowPower}.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: no such feature.
   */
  async enterLowPower(): Promise<void> {
    const device = this.handle;
    await this.#powering(() => native.vfioEnterLowPower(device, true));
  }

  /** {@link enterLowPower}, waiting. */
  enterLowPowerSync(): void {
    const device = this.handle;
    this.changingSync(() => {
      native.vfioEnterLowPower(device, false);
    });
    this.#sleeps(undefined);
  }

  /**
   * The same, but the first access to the device ends low power, whether through this object, by another process or by the
   * device's own signal (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP). Accesses to mapped registers are none. The device
   * falls asleep a moment later; an access before that wakes nobody.
   *
   * @throws KernelError EINVAL: in low power already, or not bound. ENOTTY: no such feature.
   */
  async enterLowPowerWithWakeUp(): Promise<WakeUp> {
    const device = this.handle;
    const [wakeUp, eventfd] = this.#toWakeUp();
    try {
      await this.#powering(() => native.vfioEnterLowPowerWithWakeUp(device, eventfd, true), wakeUp);
    } catch (error) {
      wakeUp.end(false);
      throw error;
    }
    return wakeUp;
  }

  /** {@link enterLowPowerWithWakeUp}, waiting. */
  enterLowPowerWithWakeUpSync(): WakeUp {
    const device = this.handle;
    const [wakeUp, eventfd] = this.#toWakeUp();
    try {
      this.changingSync(() => {
        native.vfioEnterLowPowerWithWakeUp(device, eventfd, false);
      });
    } catch (error) {
      wakeUp.end(false);
      throw error;
    }
    this.#sleeps(wakeUp);
    return wakeUp;
  }

  /** Ends low power (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT). No error if the device is not in it. */
  async exitLowPower(): Promise<void> {
    const device = this.handle;
    await this.#powering(() => native.vfioExitLowPower(device, true));
  }

  /** {@link exitLowPower}, waiting. */
  exitLowPowerSync(): void {
    const device = this.handle;
    this.changingSync(() => {
      native.vfioExitLowPower(device, false);
    });
    this.#sleeps(undefined);
  }

  /** A call that enters or leaves low power; what was before is over with it. */
  async #powering(call: () => Promise<void>, next?: WakeUp): Promise<void> {
    const enter = async () => {
      await this.changing(call);
      this.#sleeps(next);
    };
    const done = enter();
    this.#power = Promise.allSettled([this.#power, done]);
    await done;
  }

  #sleeps(next: WakeUp | undefined): void {
    const old = this.#wakeUp;
    this.#wakeUp = next;
    if (old) this.forget(old);
    old?.end(false);
    if (next) this.adopt(next);
    if (this.closed) next?.end(false);
  }

  /** Made before the device goes to sleep: afterwards nothing can fail. */
  #toWakeUp(): [wakeUp: WakeUp, eventfd: FdHandle] {
    const eventfd = kernelCall(this.args(), () => native.fdEventfd(this.kernel.handle, 0));
    try {
      return [new WakeUp(eventfd, (it) => this.#awake(it)), eventfd];
    } catch (error) {
      native.fdClose(eventfd, false);
      throw error;
    }
  }

  async #awake(wakeUp: WakeUp): Promise<void> {
    await this.#power; // it may be that what woke the device
    if (this.#wakeUp !== wakeUp || this.closed) return;
    this.#wakeUp = undefined;
    this.forget(wakeUp);
    // vfio_pci_core_runtime_resume() leaves what was exported revoked; only this brings it back.
    const device = this.handle;
    await this.changing(() => native.vfioExitLowPower(device, true)).catch(() => undefined);
  }
}
