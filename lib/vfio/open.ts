// The options and targets of VfioDevice.open(): a PCI address, a mediated device's UUID, a character device's path, or
// an fd.
import { basename } from 'node:path';
import { type FdHandle, native } from '../addon/native';
import { closedError, codedError, kernelCall, kernelCallAsync, KernelError } from '../errors/errors';
import { instance, integer, invalidType, oneOf, options, outOfRange, string } from '../errors/validate';
import { Iommufd } from '../iommufd/iommufd';
import { duplicate } from '../kernel/duplicate';
import { toKernel } from '../kernel/default-kernel';
import { addressOfNumber, type Node, openNode, openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { attempt } from '../kernel/look';
import { cdevNode, iommuGroup, toAddress } from '../pci/sysfs';
import type { BindOptions } from './attachments';
import { VfioContainer } from './container';
import type { Opened } from './device-file';
import { VfioGroup } from './group';
import { closingWith, groupSetOf, useOfCaller, type GroupUse } from './group-set';
import { isUuid, mdevCdevNode } from './mdev';
import { toVfToken } from './vf-token';

/** How a device is opened. */
export interface OpenOptions {
  /** Binds the device to this iommufd. Without it, {@link VfioDevice.bind} must be called before most other methods. */
  iommufd?: Iommufd;
  /** Opens the device through its IOMMU group, in this container. */
  container?: VfioContainer;
  /** Opens the device through this group, which must be in a container or an iommufd. */
  group?: VfioGroup;
  /** Which VFIO file is opened. Default: a file that exists and matches the other options. */
  through?: 'cdev' | 'group';
  /** A VF token, for binding or for opening through the group: see {@link BindOptions.vfToken}. */
  vfToken?: string;
  /**
   * The expected PCI address or UUID, for a target that is a path or an fd from another owner. If the device is another
   * one, ERR_WRONG_NODE is thrown.
   */
  address?: string;
  /** Default: the kernel of the iommufd, the container or the group. Without them, the default kernel. */
  kernel?: Kernel;
}

/** @internal */
export interface Target {
  kernel: Kernel;
  iommufd: Iommufd | undefined;
  binding: BindOptions;
  open: () => Promise<Opened>;
  openSync: () => Opened;
  /** Returns the PCI address or UUID, if it is known. */
  addressOf: (fd: FdHandle) => string | undefined;
}

/** The options after validation. */
interface Wanted {
  kernel: Kernel;
  iommufd: Iommufd | undefined;
  container: VfioContainer | undefined;
  group: VfioGroup | undefined;
  through: 'cdev' | 'group' | undefined;
  vfToken: string | undefined;
  address: string | undefined;
}

const openOptions = ['iommufd', 'container', 'group', 'through', 'vfToken', 'address', 'kernel'] as const;

function toWanted(opts: OpenOptions | undefined): Wanted {
  const { iommufd, container, group, through, vfToken, address, kernel: chosen } = options(opts, openOptions);
  if (iommufd !== undefined && instance(iommufd, 'iommufd', Iommufd).closed) throw closedError('iommufd');
  if (container !== undefined && instance(container, 'container', VfioContainer).closed)
    throw closedError('VFIO container');
  if (group !== undefined && instance(group, 'group', VfioGroup).closed) throw closedError('VFIO group');
  if (through !== undefined) oneOf(through, 'through', ['cdev', 'group']);
  if (vfToken !== undefined) toVfToken(vfToken, 'vfToken');
  if (address !== undefined) string(address, 'address');
  const holders = [iommufd, container, group].filter((holder) => holder !== undefined);
  const [holder] = holders;
  if (holders.length > 1) throw outOfRange('options', 'one of iommufd, container and group', 'several');
  if (through === 'cdev' && (container ?? group)) {
    throw outOfRange('through', "'group' with a container or a group", through);
  }
  const kernel = chosen === undefined && holder ? holder.kernel : toKernel(chosen);
  if (holder && holder.kernel !== kernel)
    throw codedError('ERR_OTHER_KERNEL', 'what is given belongs to another kernel');
  return {
    ...{ kernel, iommufd, container, group, vfToken },
    through: (container ?? group) ? 'group' : through,
    address: address === undefined ? undefined : toName(address),
  };
}

/** @internal */
export function toTarget(target: string | number, opts: OpenOptions | undefined): Target {
  const wanted = toWanted(opts);
  const { kernel, iommufd, vfToken } = wanted;
  const binding = vfToken === undefined ? {} : { vfToken };
  const { open, openSync, addressOf } = toWays(target, wanted);
  const check = (opened: Opened): Opened => {
    if (wanted.address !== undefined) expectAddress(opened, addressOf(opened.fd), wanted.address, target);
    return opened;
  };
  return {
    ...{ kernel, iommufd, binding, addressOf },
    open: async () => check(await open()),
    openSync: () => check(openSync()),
  };
}

type Ways = Pick<Target, 'open' | 'openSync'>;

function toWays(target: string | number, wanted: Wanted): Ways & Pick<Target, 'addressOf'> {
  const { kernel, through } = wanted;
  const addressOf = (fd: FdHandle) => addressOfFd(kernel, fd);
  if (typeof target === 'number') {
    const number = integer(target, 'fd', 0, 0x7fff_ffff);
    const openSync = () => ({ fd: duplicate(kernel, number) });
    return { open: () => Promise.resolve(openSync()), openSync, addressOf };
  }
  if (typeof target !== 'string') throw invalidType('target', 'of type string or number', target);
  if (!string(target, 'target').startsWith('/')) {
    const address = toName(target);
    return {
      ...(through === 'group' ? byGroup(address, wanted) : byEither(address, wanted)),
      addressOf: () => address,
    };
  }
  if (through !== 'group') return { ...byPath(target, kernel), addressOf };
  const address = addressOfPath(kernel, target);
  if (address === undefined) throw outOfRange('target', 'a PCI address, to find the IOMMU group of', target);
  return { ...byGroup(address, wanted), addressOf: () => address };
}

/** Checks that the opened device is the expected one. Otherwise, closes it and throws. */
function expectAddress(
  { fd, use }: Opened,
  address: string | undefined,
  wanted: string,
  target: string | number,
): void {
  if (address === wanted) return;
  native.fdClose(fd, false);
  use?.release();
  const name = typeof target === 'number' ? `fd ${String(target)}` : target;
  const is = address ?? 'a file of which neither the kernel nor sysfs tells the device';
  throw codedError('ERR_WRONG_NODE', `${name} is ${is}, and not ${wanted}`);
}

/** Returns the address of an open file's device, from fdinfo or by the file's device number. */
function addressOfFd(kernel: Kernel, fd: FdHandle): string | undefined {
  const told = addressByFdinfo(fd);
  if (told !== undefined) return told;
  const number = attempt(() => native.fdDevice(fd));
  return number === undefined ? undefined : addressOfNumber(kernel.sysfs, number);
}

function addressOfPath(kernel: Kernel, path: string): string | undefined {
  const { fd } = byPath(path, kernel).openSync();
  try {
    return addressOfFd(kernel, fd);
  } finally {
    native.fdClose(fd, false);
  }
}

/** Returns the full PCI address or the UUID. */
function toName(target: string): string {
  const uuid = target.toLowerCase();
  return isUuid(uuid) ? uuid : toAddress(target);
}

function cdevOf(sysfs: string, name: string): Node {
  return isUuid(name) ? mdevCdevNode(sysfs, name) : cdevNode(sysfs, name);
}

/** Linux 6.17 and later report it, also for files that were opened through groups: vfio_device_show_fdinfo(). */
function addressByFdinfo(fd: FdHandle): string | undefined {
  const path = /^vfio-device-syspath:\s*(\S+)$/m.exec(attempt(() => native.dmaBufFdinfo(fd)) ?? '')?.[1];
  return path === undefined ? undefined : attempt(() => toName(basename(path)));
}

/** Opens the character device. If this kernel has none for the device, opens the group. */
function byEither(address: string, wanted: Wanted): Ways {
  const { kernel, through } = wanted;
  const node = cdevOf(kernel.sysfs, address);
  const instead = (error: unknown): Ways => {
    const isMissing = error instanceof KernelError && error.code === 'ENOENT' && error.syscall === 'open';
    if (!isMissing || through === 'cdev') throw error;
    return byGroup(address, wanted);
  };
  return {
    open: async () => {
      try {
        return { fd: await openNode(kernel, node) };
      } catch (error) {
        return await instead(error).open();
      }
    },
    openSync: () => {
      try {
        return { fd: openNodeSync(kernel, node) };
      } catch (error) {
        return instead(error).openSync();
      }
    },
  };
}

/** Opens the path that the caller specified, without a check which device it is. */
function byPath(path: string, kernel: Kernel): Ways {
  return {
    open: async () => ({
      fd: await kernelCallAsync({ path }, () => native.fdOpen(kernel.handle, path, true), { kernel }),
    }),
    openSync: () => ({
      fd: kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel }),
    }),
  };
}

function byGroup(address: string, { kernel, iommufd, container, group, vfToken }: Wanted): Ways {
  const number = iommuGroup(kernel.sysfs, address);
  const name = vfToken === undefined ? address : `${address} vf_token=${vfToken}`;
  const given = iommufd ?? container;
  const join = async (): Promise<GroupUse> => {
    if (group) return useOfCaller(group);
    if (given) return groupSetOf(given).join(kernel, number);
    const own = VfioContainer.open({ kernel });
    try {
      return closingWith(own, await groupSetOf(own).join(kernel, number));
    } catch (error) {
      own.close();
      throw error;
    }
  };
  const joinSync = (): GroupUse => {
    if (group) return useOfCaller(group);
    if (given) return groupSetOf(given).joinSync(kernel, number);
    const own = VfioContainer.open({ kernel });
    try {
      return closingWith(own, groupSetOf(own).joinSync(kernel, number));
    } catch (error) {
      own.close();
      throw error;
    }
  };
  return {
    open: async () => {
      const use = await join();
      try {
        return { fd: await use.group.deviceFd(name), use };
      } catch (error) {
        use.release();
        throw error;
      }
    },
    openSync: () => {
      const use = joinSync();
      try {
        return { fd: use.group.deviceFdSync(name), use };
      } catch (error) {
        use.release();
        throw error;
      }
    },
  };
}
