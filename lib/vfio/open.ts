// What VfioDevice.open() takes: a PCI address, a character device's path, or an fd.
import { attempt } from '../causes/look';
import { toKernel } from '../default-kernel';
import { closedError, kernelCall, kernelCallAsync } from '../errors';
import { Iommufd } from '../iommufd/iommufd';
import type { Kernel } from '../kernel';
import { native, type FdHandle } from '../native';
import { cdevAddress, cdevPath, toAddress } from '../pci/sysfs';
import { instance, integer, invalidType, options, string } from '../validate';
import type { BindOptions } from './bound-device';
import { toVfToken } from './vf-token';

/** How to open a device. */
export interface OpenOptions {
  /** Binds the device to this iommufd. Without it, {@link VfioDevice.bind} must come before anything else. */
  iommufd?: Iommufd;
  /** A VF token, for the bind: see {@link BindOptions.vfToken}. */
  vfToken?: string;
  /** Default: the iommufd's, or the default kernel. */
  kernel?: Kernel;
}

/** @internal */
export interface Target {
  kernel: Kernel;
  iommufd: Iommufd | undefined;
  binding: BindOptions;
  open: () => Promise<FdHandle>;
  openSync: () => FdHandle;
  /** The PCI address, where it is known. */
  addressOf: (fd: FdHandle) => string | undefined;
}

/** @internal */
export function toTarget(target: string | number, opts: OpenOptions | undefined): Target {
  const { iommufd, kernel: chosen, vfToken } = options(opts);
  const binding = vfToken === undefined ? {} : { vfToken };
  if (vfToken !== undefined) toVfToken(vfToken, 'vfToken');
  if (iommufd !== undefined && instance(iommufd, 'iommufd', Iommufd).closed) throw closedError('iommufd');
  const kernel = chosen === undefined && iommufd ? iommufd.kernel : toKernel(chosen);
  if (typeof target === 'number') {
    const number = integer(target, 'fd', 0, 0x7fff_ffff);
    const openSync = () => kernelCall({ fd: number }, () => native.fdDuplicate(kernel.handle, number));
    const addressOf = (fd: FdHandle) => cdevAddress(kernel.sysfs, attempt(() => native.fdPath(fd)) ?? '');
    return { kernel, iommufd, binding, open: () => Promise.resolve(openSync()), openSync, addressOf };
  }
  if (typeof target !== 'string') throw invalidType('target', 'of type string or number', target);
  string(target, 'target');
  const isPath = target.startsWith('/');
  const address = isPath ? cdevAddress(kernel.sysfs, target) : toAddress(target);
  const path = isPath ? target : cdevPath(kernel.sysfs, toAddress(target));
  return {
    kernel,
    iommufd,
    binding,
    open: () => kernelCallAsync({ path }, () => native.fdOpen(kernel.handle, path, true), { kernel }),
    openSync: () => kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel }),
    addressOf: () => address,
  };
}
