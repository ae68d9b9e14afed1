// Low power that ends when something accesses the device: the kernel tells so through an eventfd.
import { native, type FdHandle } from '../addon/native';
import { pollEvents, Watch } from '../events/poll';

/** Low power from which the device can be woken. It comes from {@link VfioDevice.enterLowPowerWithWakeUp}. */
export class WakeUp {
  /**
   * Resolves when low power is over. `true`: something woke the device (an access to it, by whoever, or its own signal), and
   * what it exports can be mapped again. `false`: it was ended by exitLowPower(), by entering low power anew, or by close().
   */
  readonly woken: Promise<boolean>;
  readonly #eventfd: FdHandle;
  readonly #watch: Watch;
  #resolve: (woken: boolean) => void = () => undefined;
  #over = false;

  /** `awake` is called when the device was woken, before that is told. @internal */
  constructor(eventfd: FdHandle, awake: (wakeUp: WakeUp) => Promise<void>) {
    this.woken = new Promise((resolve) => (this.#resolve = resolve));
    this.#eventfd = eventfd;
    this.#watch = new Watch(eventfd, pollEvents.readable, () => {
      this.#watch.close();
      void awake(this).then(() => this.end(true));
    });
  }

  /** Whether the low power that this object stands for is over. */
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

  /** The device is being closed. @internal */
  close(): void {
    this.end(false);
  }
}
