// Opens a device's node and checks that it belongs to the device. A node's path may now refer to another device, for
// example in a container whose /dev is older than the last bind. Therefore the device number of the open file
// (fstat(2)) is compared with the number in sysfs.
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, list, text } from './look';
import { codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import type { Kernel } from './kernel';
import { type FdHandle, native } from '../addon/native';

/** A device node, and the device that it must belong to. @internal */
export interface Node {
  path: string;
  /** The device's name in error messages. */
  device: string;
  /** The path, relative to sysfs, of the file that contains the device number. */
  numberFile: string;
  /**
   * Whether to open the node also if sysfs does not have the number. This is safe for nodes that give no access to
   * hardware: a file of another kind fails the requests.
   */
  mayBeUnknown?: boolean;
}

/** Opens the node on another thread. @internal */
export async function openNode(kernel: Kernel, node: Node): Promise<FdHandle> {
  const { path } = node;
  const fd = await kernelCallAsync({ path }, () => native.fdOpen(kernel.handle, path, true), { kernel });
  return checked(kernel, fd, node);
}

/** As {@link openNode}, but blocks the thread. @internal */
export function openNodeSync(kernel: Kernel, node: Node): FdHandle {
  const { path } = node;
  const fd = kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel });
  return checked(kernel, fd, node);
}

/** Returns the fd if it is the expected device. Otherwise closes it and throws ERR_WRONG_NODE. */
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
  // An existing file that cannot be read, for lack of fds for example, is an error.
  const wanted = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
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

/** Returns the device of a number as text, for example ', which is 0000:02:00.0', or '' if it is unknown. */
function whose(kernel: Kernel, number: string): string {
  const address = addressOfNumber(kernel.sysfs, number);
  return address === undefined ? '' : `, which is ${address}`;
}

const buses = ['bus/pci/devices', 'bus/mdev/devices'];

/** The address or UUID of the device whose VFIO character device has this number; undefined: not found in sysfs. */
export function addressOfNumber(sysfs: string, number: string): string | undefined {
  // …/0000:03:00.0/vfio-dev/vfio0
  const folder = attempt(() => realpathSync(join(sysfs, 'dev/char', number)));
  if (folder !== undefined) return /\/([^/]+)\/vfio-dev\/[^/]+$/.exec(folder)?.[1];
  // Some containers do not have /sys/dev.
  for (const devices of buses.map((bus) => join(sysfs, bus))) {
    const address = list(devices).find((candidate) => {
      const nodes = join(devices, candidate, 'vfio-dev');
      return list(nodes).some((name) => text(join(nodes, name, 'dev')).trim() === number);
    });
    if (address !== undefined) return address;
  }
  return undefined;
}

/** Describes the node of a device class, by the device's name in that class. @internal */
export function classNode(path: string, device: string, ...names: [className: string, name: string]): Node {
  return { path, device, numberFile: join('class', ...names, 'dev'), mayBeUnknown: true };
}
