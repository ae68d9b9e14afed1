// Finds a mediated device in sysfs by its UUID.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { codedError } from '../errors/errors';
import type { Node } from '../kernel/device-node';
import { linked, list } from '../kernel/look';
import { toCdevNode } from '../pci/sysfs';

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** @internal */
export function isUuid(target: string): boolean {
  return uuidPattern.test(target);
}

/**
 * Returns a mediated device's VFIO character device.
 *
 * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO
 * @internal
 */
export function mdevCdevNode(sysfs: string, uuid: string): Node {
  const device = join('bus/mdev/devices', uuid);
  const folder = join(sysfs, device);
  if (!existsSync(folder)) {
    throw codedError('ERR_NO_SUCH_DEVICE', `there is no mediated device ${uuid}: ${howToMake(sysfs, uuid)}`);
  }
  const name = list(join(folder, 'vfio-dev')).find((candidate) => candidate.startsWith('vfio'));
  if (name !== undefined) return toCdevNode(device, name);
  const driver = linked(join(folder, 'driver'));
  throw codedError(
    'ERR_NOT_BOUND_TO_VFIO',
    `${uuid} has no VFIO character device: ` +
      (driver === undefined
        ? `it has no driver. As root: echo ${uuid} > ${sysfs}/bus/mdev/drivers/DRIVER/bind`
        : `its driver ${driver} does not give it one, or this kernel is too old (before Linux 6.6)`),
  );
}

function howToMake(sysfs: string, uuid: string): string {
  const parents = join(sysfs, 'class/mdev_bus');
  const types = list(parents).flatMap((parent) => {
    const folder = join(parents, parent, 'mdev_supported_types');
    return list(folder).map((type) => join(folder, type));
  });
  const [first] = types;
  return first === undefined
    ? `no driver on this machine makes any (${parents} is empty)`
    : `as root, \`echo ${uuid} > ${first}/create\` makes one, of that type or another (${String(types.length)} in all)`;
}
