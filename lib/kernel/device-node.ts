// Opening a device's node, and making sure that it is the device's. A path is a name that anybody may have given to another
// device since, as in a container whose /dev is older than the last bind: what counts is the number of the file that was
// opened (fstat(2)), held against the one in sysfs.
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, list, text } from './look';
import { codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import type { Kernel } from './kernel';
import { type FdHandle, native } from '../addon/native';

/** A node, and the device that it must be. @internal */
export interface Node {
  path: string;
  /** What the device is called in an error. */
  device: string;
  /** The file below sysfs that has the device's number. */
  numberFile: string;
  /**
   * Whether the node is opened also where sysfs does not tell the number: it is nobody's hardware, and only a file of the
   * right kind answers its requests.
   */
  mayBeUnknown?: boolean;
}

/** Opens it on a pool thread. @internal */
export async function openNode(kernel: Kernel, node: Node): Promise<FdHandle> {
  const { path } = node;
  const fd = await kernelCallAsync({ path }, () => native.fdOpen(kernel.handle, path, true), { kernel });
  return checked(kernel, fd, node);
}

/** {@link openNode}, waiting. @internal */
export function openNodeSync(kernel: Kernel, node: Node): FdHandle {
  const { path } = node;
  const fd = kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel });
  return checked(kernel, fd, node);
}

/** The fd; or it is closed, and ERR_WRONG_NODE thrown: it is open on something else. */
function checked(kernel: Kernel, fd: FdHandle, node: Node): FdHandle {
  try {
    check(kernel, fd, node);
    return fd;
  } catch (error) {
    native.fdClose(fd, false);
    throw error;
  }
}

function check(kernel: Kernel, fd: FdHandle, { path, device, numberFile, mayBeUnknown = false }: Node): void {
  const found = kernelCall({ path }, () => native.fdDevice(fd));
  const file = join(kernel.sysfs, numberFile);
  const wanted = text(file).trim();
  if (found !== undefined && (found === wanted || (wanted === '' && mayBeUnknown))) return;
  const is = found === undefined ? 'no character device' : `character device ${found}${whose(kernel, found)}`;
  if (wanted === '') {
    throw codedError(
      'ERR_WRONG_NODE',
      `${path} is ${is}, and whether that is ${device} is not known: there is no ${file}`,
    );
  }
  const [major = '', minor = ''] = wanted.split(':');
  throw codedError(
    'ERR_WRONG_NODE',
    `${path} is not ${device}: it is ${is}, and ${device} is ${wanted} (${file}). The /dev of this process is out of date, ` +
      `as a container's is after devices were bound anew: start the container again, or, as root: ` +
      `rm ${path} && mknod ${path} c ${major} ${minor}`,
  );
}

/** ', which is 0000:02:00.0', if that can be seen. */
function whose(kernel: Kernel, number: string): string {
  const address = addressOfNumber(kernel.sysfs, number);
  return address === undefined ? '' : `, which is ${address}`;
}

const buses = ['bus/pci/devices', 'bus/mdev/devices'];

/** The address or UUID of the device whose VFIO character device has this number; undefined: sysfs does not tell. */
export function addressOfNumber(sysfs: string, number: string): string | undefined {
  // …/0000:03:00.0/vfio-dev/vfio0
  const folder = attempt(() => realpathSync(join(sysfs, 'dev/char', number)));
  if (folder !== undefined) return /\/([^/]+)\/vfio-dev\/[^/]+$/.exec(folder)?.[1];
  // Not every container is shown /sys/dev.
  for (const devices of buses.map((bus) => join(sysfs, bus))) {
    const address = list(devices).find((candidate) => {
      const nodes = join(devices, candidate, 'vfio-dev');
      return list(nodes).some((name) => text(join(nodes, name, 'dev')).trim() === number);
    });
    if (address !== undefined) return address;
  }
  return undefined;
}

/** A node of a class of sysfs, by the node's name there. @internal */
export function classNode(path: string, device: string, ...names: [className: string, name: string]): Node {
  return { path, device, numberFile: join('class', ...names, 'dev'), mayBeUnknown: true };
}
