// Power: operations that make a device's memory temporarily inaccessible: reset, hot reset, low power.
import { key } from '../errors/key';
import { codedError, kernelCall } from '../errors/errors';
import { native, type FdHandle, type VfioHandle } from '../addon/native';
import type { DeviceFile } from './device-file';
import { VfioGroup } from './group';
import { toHotResetInfo, type HotResetInfo } from './hot-reset';
import { WakeUp } from './wake-up';

/** @internal */
export class Power {
  readonly #file: DeviceFile;
  #wakeUp: WakeUp | undefined;
  /** Settles after all calls so far that enter or leave low power. */
  #power: Promise<unknown> = Promise.resolve();

  constructor(file: DeviceFile) {
    this.#file = file;
  }

  async reset(): Promise<void> {
    await this.#file.changing((device) => native.vfioReset(device, true));
  }

  resetSync(): void {
    this.#file.changingSync((device) => native.vfioReset(device, false));
  }

  hotResetInfo(): HotResetInfo {
    const mine = this.#groups().map((group) => group.number);
    return toHotResetInfo(
      kernelCall(this.#file.args(), () => native.vfioHotResetInfo(this.#file.handle)),
      mine,
    );
  }

  async hotReset(): Promise<void> {
    const { addresses, groups } = this.#toHotReset();
    await this.#file.changing((device) => native.vfioHotReset(device, addresses, groups, true));
  }

  hotResetSync(): void {
    const { addresses, groups } = this.#toHotReset();
    this.#file.changingSync((device) => native.vfioHotReset(device, addresses, groups, false));
  }

  /**
   * The groups that this thread has opened in the device's container. They prove ownership of their devices for a hot
   * reset.
   */
  #groups(): VfioGroup[] {
    const container = this.#file.use?.group.container;
    return container ? VfioGroup.inUse(container) : [];
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

  async enterLowPower(): Promise<void> {
    await this.#powering((device) => native.vfioEnterLowPower(device, true));
  }

  enterLowPowerSync(): void {
    this.#file.changingSync((device) => native.vfioEnterLowPower(device, false));
    this.#sleeps(undefined);
  }

  async enterLowPowerWithWakeUp(): Promise<WakeUp> {
    const [wakeUp, eventfd] = this.#toWakeUp();
    try {
      await this.#powering((device) => native.vfioEnterLowPowerWithWakeUp(device, eventfd, true), wakeUp);
    } catch (error) {
      wakeUp.end(false);
      throw error;
    }
    return wakeUp;
  }

  enterLowPowerWithWakeUpSync(): WakeUp {
    const [wakeUp, eventfd] = this.#toWakeUp();
    try {
      this.#file.changingSync((device) => native.vfioEnterLowPowerWithWakeUp(device, eventfd, false));
    } catch (error) {
      wakeUp.end(false);
      throw error;
    }
    this.#sleeps(wakeUp);
    return wakeUp;
  }

  async exitLowPower(): Promise<void> {
    await this.#powering((device) => native.vfioExitLowPower(device, true));
  }

  exitLowPowerSync(): void {
    this.#file.changingSync((device) => native.vfioExitLowPower(device, false));
    this.#sleeps(undefined);
  }

  /** Makes a call that enters or leaves low power. It ends the previous low power state. */
  async #powering(call: (device: VfioHandle) => Promise<void>, next?: WakeUp): Promise<void> {
    const enter = async () => {
      await this.#file.changing(call);
      this.#sleeps(next);
    };
    const done = enter();
    this.#power = Promise.allSettled([this.#power, done]);
    await done;
  }

  #sleeps(next: WakeUp | undefined): void {
    const old = this.#wakeUp;
    this.#wakeUp = next;
    if (old) this.#file.forget(old);
    old?.end(false);
    if (next) this.#file.adopt(next);
    if (this.#file.closed) next?.end(false);
  }

  /** Creates the WakeUp before the device enters low power, so that nothing can fail afterwards. */
  #toWakeUp(): [wakeUp: WakeUp, eventfd: FdHandle] {
    this.#file.check();
    const eventfd = kernelCall(this.#file.args(), () => native.fdEventfd(this.#file.kernel.handle, 0));
    try {
      return [new WakeUp(key, eventfd, (it) => this.#awake(it)), eventfd];
    } catch (error) {
      native.fdClose(eventfd, false);
      throw error;
    }
  }

  async #awake(wakeUp: WakeUp): Promise<void> {
    await this.#power; // one of these calls may have caused the wakeup
    if (this.#wakeUp !== wakeUp || this.#file.closed) return;
    this.#wakeUp = undefined;
    this.#file.forget(wakeUp);
    // vfio_pci_core_runtime_resume() leaves exported dma-bufs revoked. Only LOW_POWER_EXIT restores them.
    await this.#file.changing((device) => native.vfioExitLowPower(device, true)).catch(() => undefined);
  }
}
