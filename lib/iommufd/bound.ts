// Devices as IOMMUFD's calls take them: by their number in the iommufd.
import { codedError } from '../errors/errors';
import { integer, options } from '../errors/validate';
import type { Iommufd } from './iommufd';

/** A device that is bound to an iommufd: a {@link VfioDevice}, for one. */
export interface IommufdDevice {
  readonly iommufd: Iommufd | undefined;
  /** The device's number in the iommufd. */
  readonly id: number | undefined;
}

/** The number of a device that is bound to this iommufd. @internal */
export function boundId(device: IommufdDevice, iommufd: Iommufd): number {
  const { iommufd: its, id } = options<Partial<IommufdDevice>>(device, 'device');
  if (its === undefined || id === undefined) {
    throw codedError('ERR_NOT_BOUND', 'the device is not bound to an iommufd: bind() first');
  }
  // Numbers are per iommufd: in another one, the same number is something else.
  if (its !== iommufd && !its.duplicated && !iommufd.duplicated) {
    throw codedError('ERR_OTHER_IOMMUFD', 'the device is bound to another iommufd');
  }
  return integer(id, 'device.id', 1, 0x7fff_ffff);
}

/** Something that goes with what it is built on, and before it. @internal */
export interface Dependent {
  close(): void;
  /** Whether calls on it, or on what is built on it, are under way on pool threads. */
  readonly areUnderWay: boolean;
  [Symbol.asyncDispose](): Promise<void>;
  /** Its parent is gone from here, and it could not be destroyed: the kernel does that with the iommufd. */
  abandon(): void;
}
