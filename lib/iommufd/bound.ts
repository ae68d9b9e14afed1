// Devices as arguments of IOMMUFD's calls: their object ID in the iommufd.
import type { Parents } from '../lifetime/parents';
import { codedError } from '../errors/errors';
import { integer, fields } from '../errors/validate';

/** A device that is bound to an iommufd, for example a {@link VfioDevice}. */
export interface IommufdDevice {
  readonly iommufd: Parents['Iommufd'] | undefined;
  /** The device's object ID in the iommufd. */
  readonly id: number | undefined;
}

/** Returns the object ID of a device that is bound to this iommufd. @internal */
export function boundId(device: IommufdDevice, iommufd: Parents['Iommufd']): number {
  const { iommufd: its, id } = fields<Partial<IommufdDevice>>(device, 'device');
  if (its === undefined || id === undefined) {
    throw codedError('ERR_NOT_BOUND', 'the device is not bound to an iommufd: bind() first');
  }
  // Object IDs are unique only within one iommufd.
  if (its !== iommufd && !its.duplicated && !iommufd.duplicated) {
    throw codedError('ERR_OTHER_IOMMUFD', 'the device is bound to another iommufd');
  }
  return integer(id, 'device.id', 1, 0x7fff_ffff);
}

/** A device that is attached to an IOAS or a page table. @internal */
export interface Attached {
  /** Detaches the device. Works while the device is being closed. */
  leave(): void;
  leaveLater(): Promise<void>;
}
