// Ioeventfd: a register write that the kernel makes when an eventfd is signalled.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { closedError, kernelCall, KernelError } from '../errors/errors';
import { Eventfd } from '../events/eventfd';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native } from '../addon/native';
import { instance, integer, options, outOfRange, u64 } from '../errors/validate';

/** The register write, and the eventfd that triggers it. */
export interface IoeventfdOptions {
  /** The offset in the region in bytes. */
  offset: number | bigint;
  /** The width of the write in bytes. */
  width: 1 | 2 | 4 | 8;
  /** The value to write. It must fit the width. */
  value: number | bigint;
  /** The eventfd, which the caller still owns. Default: a new one. */
  eventfd?: Eventfd;
}

/**
 * A write that the kernel makes to a device's register each time an eventfd is signalled, without a return to user
 * space: a doorbell. Created by {@link Region.ioeventfd}.
 */
export class Ioeventfd extends Closable {
  readonly region: Parents['Region'];
  readonly offset: bigint;
  readonly width: number;
  readonly value: bigint;
  /** The eventfd that triggers the write. */
  readonly eventfd: Eventfd;
  readonly #at: bigint;
  readonly #own: boolean;
  readonly #args: Record<string, unknown>;
  static readonly #end: End<Ioeventfd> = {
    what: 'ioeventfd',
    canFail: true,
    close: (ioeventfd) => {
      const { device } = ioeventfd.region;
      try {
        kernelCall(ioeventfd.#args, () =>
          native.ioeventfdRemove(device.handle, ioeventfd.#at, ioeventfd.width, ioeventfd.value),
        );
      } catch (error) {
        // It was removed already, or the device is being unbound.
        if (!(error instanceof KernelError && error.code === 'ENODEV')) throw error;
      }
    },
    gone: (ioeventfd) => {
      ioeventfd.region.device.file.forget(ioeventfd);
      if (ioeventfd.#own) ioeventfd.eventfd.close();
    },
  };

  static {
    shown(this, 'closed', ['region', ({ region }) => region.index], 'offset', 'width', 'value');
  }

  /** @param start the offset of the region in the device's file @internal */
  constructor(made: Key, region: Parents['Region'], start: bigint, opts: IoeventfdOptions) {
    onlyInside(made, 'Ioeventfd', 'use Region#ioeventfd()');
    const given = options(opts, ['offset', 'width', 'value', 'eventfd']);
    const offset = u64(given.offset, 'offset', 0n, (1n << 40n) - 1n);
    const width = integer(given.width, 'width', 1, 8);
    if (![1, 2, 4, 8].includes(width)) throw outOfRange('width', 'one of 1, 2, 4, 8', width);
    const value = u64(given.value, 'value', 0n, (1n << BigInt(8 * width)) - 1n);
    if (given.eventfd !== undefined) instance(given.eventfd, 'eventfd', Eventfd);
    const { device } = region;
    if (device.closed) throw closedError('VFIO device');
    const eventfd = given.eventfd ?? Eventfd.create({ kernel: device.kernel });
    const args = { ...device.file.args(), region: region.index, offset, width };
    try {
      const { fd } = eventfd;
      const add = () => native.ioeventfdAdd(device.handle, start + offset, width, value, fd);
      kernelCall(args, add, device.file.around());
    } catch (error) {
      if (given.eventfd === undefined) eventfd.close();
      throw error;
    }
    super(Ioeventfd.#end);
    this.region = region;
    this.offset = offset;
    this.width = width;
    this.value = value;
    this.eventfd = eventfd;
    this.#at = start + offset;
    this.#own = given.eventfd === undefined;
    this.#args = args;
    device.file.adopt(this);
  }

  /** Removes the ioeventfd (VFIO_DEVICE_IOEVENTFD). The caller's own eventfd stays open. */
  override close(): void {
    super.close();
  }
}
