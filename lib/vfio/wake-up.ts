// WakeUp: low power that ends when the device is accessed. The kernel signals this through an eventfd.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { native, type FdHandle } from '../addon/native';
import { pollEvents, Watch } from '../events/poll';

/** Low power that ends at the first access to the device. Created by {@link VfioDevice.enterLowPowerWithWakeUp}. */
export class WakeUp {
  /**
   * Resolves when low power has ended. `true`: an access to the device or its wakeup signal ended it, and its exported
   * dma-bufs can be mapped again. `false`: exitLowPower(), entering low power again, or close() ended it.
   */
  readonly woken: Promise<boolean>;
  readonly #eventfd: FdHandle;
  readonly #watch: Watch;
  #resolve: (woken: boolean) => void = () => undefined;
  #over = false;

  static {
    shown(this, 'over');
  }

  /** @param awake called when the device has woken up, before `woken` resolves @internal */
  constructor(made: Key, eventfd: FdHandle, awake: (wakeUp: WakeUp) => Promise<void>) {
    onlyInside(made, 'WakeUp', 'use VfioDevice#enterLowPowerWithWakeUp()');
    this.woken = new Promise((resolve) => (this.#resolve = resolve));
    this.#eventfd = eventfd;
    this.#watch = new Watch(eventfd, pollEvents.readable, () => {
      this.#watch.close();
      void awake(this).then(() => this.end(true));
    });
  }

  /** Whether this low power state has ended. */
  get over(): boolean {
    return this.#over;
  }

  /** @internal */
  end(woken: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#watch.close();
    native.fdClose(this.#eventfd, false);
    this.#resolve(woken);
  }

  /** Called when the device is being closed. @internal */
  close(): void {
    this.end(false);
  }
}
