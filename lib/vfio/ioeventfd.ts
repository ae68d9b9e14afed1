import type { Parents } from '../lifetime/parents';
import { closedError, kernelCall, KernelError } from '../errors/errors';
import { Eventfd } from '../events/eventfd';
import { Lifetime, type End } from '../lifetime/lifetime';
import { native } from '../addon/native';
import { instance, integer, options, outOfRange, u64 } from '../errors/validate';

/** What is to be written, and on whose signal. */
export interface IoeventfdOptions {
  /** Where in the region, in bytes. */
  offset: number | bigint;
  /** In bytes. */
  width: 1 | 2 | 4 | 8;
  /** Fits the width. */
  value: number | bigint;
  /** One of the caller's; a new one unless told. */
  eventfd?: Eventfd;
}

/**
 * A write that the kernel makes to a device's register each time an eventfd is signalled, without coming back to user space:
 * a doorbell. Made by {@link Region.ioeventfd}.
 */
export class Ioeventfd {
  readonly region: Parents['Region'];
  readonly offset: bigint;
  readonly width: number;
  readonly value: bigint;
  /** Signals the write. */
  readonly eventfd: Eventfd;
  readonly #at: bigint;
  readonly #own: boolean;
  readonly #life: Lifetime<Ioeventfd>;

  static readonly #end: End<Ioeventfd> = {
    what: 'ioeventfd',
    canFail: true,
    close: (ioeventfd) => {
      const { device } = ioeventfd.region;
      try {
        kernelCall(ioeventfd.#args(), () => {
          native.ioeventfdRemove(device.handle, ioeventfd.#at, ioeventfd.width, ioeventfd.value);
        });
      } catch (error) {
        // Somebody else removed it, or the device is leaving.
        if (!(error instanceof KernelError && error.code === 'ENODEV')) throw error;
      }
    },
    gone: (ioeventfd) => {
      ioeventfd.region.device.file.forget(ioeventfd);
      if (ioeventfd.#own) ioeventfd.eventfd.close();
    },
  };

  /** @param start where the region is in the device's file @internal */
  constructor(region: Parents['Region'], start: bigint, opts: IoeventfdOptions) {
    const { offset, width, value, eventfd } = options(opts);
    this.region = region;
    this.offset = u64(offset, 'offset', 0n, (1n << 40n) - 1n);
    this.width = integer(width, 'width', 1, 8);
    if (![1, 2, 4, 8].includes(width)) throw outOfRange('width', 'one of 1, 2, 4, 8', width);
    this.value = u64(value, 'value', 0n, (1n << BigInt(8 * width)) - 1n);
    if (eventfd !== undefined) instance(eventfd, 'eventfd', Eventfd);
    const { device } = region;
    if (device.closed) throw closedError('VFIO device');
    this.#at = start + this.offset;
    this.#own = eventfd === undefined;
    this.eventfd = eventfd ?? Eventfd.create({ kernel: device.kernel });
    try {
      const { fd } = this.eventfd;
      kernelCall(
        this.#args(),
        () => {
          native.ioeventfdAdd(device.handle, this.#at, this.width, this.value, fd);
        },
        device.file.around(),
      );
    } catch (error) {
      if (this.#own) this.eventfd.close();
      throw error;
    }
    device.file.adopt(this);
    this.#life = new Lifetime<Ioeventfd>(this, Ioeventfd.#end);
  }

  #args() {
    return { ...this.region.device.file.args(), region: this.region.index, offset: this.offset, width: this.width };
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#life.closed;
  }

  /** No more writes (VFIO_DEVICE_IOEVENTFD). The caller's own eventfd stays open. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
